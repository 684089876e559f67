"""Several hosts that train one model. Only `process_group` imports PyTorch."""
