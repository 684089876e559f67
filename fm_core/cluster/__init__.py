"""Several hosts that train one model. Nothing here imports PyTorch but `process_group`."""
