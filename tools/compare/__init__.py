"""Does the working tree do what an earlier commit did? `make compare`.

Both run the same jobs, requests, commands and fits, and their results are compared byte by byte. differences.py lists
the intended differences, each with its reason; any other difference ends with status 1.

- sides.py: the two programs, the earlier one built in build/compare
- inputs.py: the data, created once, by the earlier one
- jobs.py: training jobs, and checkpoints of the earlier one from which either resumes
- serving.py: requests
- commands.py: the commands of `fm`, and the estimators
- differences.py: the intended differences; how two results are compared
- speed.py: `--speed`, times of both, in turn

Times, rates, process numbers and the folders of the two programs are blanked before the comparison.
"""
