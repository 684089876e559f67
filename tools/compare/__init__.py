"""Does the working tree do what an earlier commit did? `make compare`.

The same jobs, requests, commands and fits are run by both, and what they leave is compared byte by byte. What is
meant to differ stands in differences.py, each with its reason; anything else ends with status 1.

- sides.py: the two programs, the earlier one built in build/compare
- inputs.py: the data, made once, by the earlier one
- jobs.py: training jobs, and checkpoints that the earlier one wrote and either goes on from
- serving.py: requests
- commands.py: the commands of `fm`, and the estimators
- differences.py: what is meant to differ; how two results are compared
- speed.py: `--speed`, both in turn against the clock

Times, rates, process numbers and the folders that the two live in are blanked before they are compared.
"""
