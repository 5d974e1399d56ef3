"""Completion in bash, and the version."""

import re
import subprocess

from espnet_ext import __version__
from espnet_ext.bin import completion, main


def completed(script: str, function: str, *words: str) -> set[str]:
    code = f"""{script}
COMP_WORDS=({" ".join(f"'{word}'" for word in words)})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
{function}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_commands_and_options_are_completed_in_bash(monkeypatch):
    monkeypatch.setattr(main, "verbs", lambda: {"score": "", "new_corpus": ""})
    script = completion.script("bash")
    assert completed(script, "_espnet_ext", "espnet-ext", "sc") == {"score"}
    assert "--token_types" in completed(script, "_espnet_ext", "espnet-ext", "score", "--to")
    assert completed(script, "_espnet_ext", "espnet-ext", "new-corpus", "--")
    assert completed(script, "_espnet_ext_run", "./run.sh", "--baseline_c") == {"--baseline_clean"}
    assert "bashcompinit" in completion.script("zsh")


def test_version(capsys):
    assert main.main(["--version"]) == 0
    assert re.match(rf"espnet-ext {__version__}.*; python 3.*torch ", capsys.readouterr().out)
