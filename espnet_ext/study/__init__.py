"""A grid of trainings: its design, collection of results, effects, power, regression and report.

`design` reads `conf/study.yaml`; `plan` says which trainings are done; `collect` writes
`cells.json`; everything else is computed from that file. The trainings themselves are run by
`local/study.sh`. The command is `espnet-ext study`. The guide is docs/grid_studies.md.
"""
