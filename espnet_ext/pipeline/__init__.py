"""What the stages of `run.sh` call: options, names, dependency tracking, process pool, launcher.

`run.sh` shows what each stage runs. This package decides everything that shell is bad at: which
options exist and what they mean, what a language implies, which steps are done and unchanged, and
how the others run. It needs the standard library and PyYAML, never torch. `options`, `settings`,
`names`, `recipe`, `languages` and `prepare` run before any environment exists: they import nothing
beyond the standard library of Python 3.9.
"""
