"""Print a script that completes the commands and options of espnet-ext and run.sh in a shell.

eval "$(espnet-ext completion bash)"      # in ~/.bashrc
eval "$(espnet-ext completion zsh)"       # in ~/.zshrc
"""

import contextlib
import io
import re
import sys
from collections.abc import Sequence

from espnet_ext.bin import cli

SHELLS = ("bash", "zsh")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9_]*")
_SCRIPT = r"""_espnet_ext_options() {{
    case $1 in
{cases}
    esac
}}
_espnet_ext() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} words=""
    if ((COMP_CWORD == 1)); then
        words="{verbs} --help --version"
    elif [[ $word == -* ]]; then
        words=$(_espnet_ext_options "${{COMP_WORDS[1]//-/_}}")
    fi
    if [[ -n $words ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}}
_espnet_ext_run() {{
    local word=${{COMP_WORDS[COMP_CWORD]}}
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "{run_options}" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}}
complete -o filenames -F _espnet_ext espnet-ext
complete -o filenames -F _espnet_ext_run run.sh ./run.sh
"""
# zsh has no mapfile; its completion of bash scripts sets COMPREPLY from words
_ZSH = "autoload -Uz bashcompinit && bashcompinit\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__.partition("\n")[0])
    parser.add_argument("shell", choices=SHELLS, help="the shell that reads the script")
    args = parser.parse_args(argv)
    print(script(args.shell), end="")
    return 0


def script(shell: str) -> str:
    """Return the script for a shell."""
    from espnet_ext.bin.main import verbs
    from espnet_ext.pipeline.options import known_names

    names = list(verbs())
    cases = "\n".join(
        f'        {verb}) printf "%s" "{" ".join(options_of(verb))}" ;;' for verb in names
    )
    text = _SCRIPT.format(
        cases=cases,
        verbs=" ".join(names),
        run_options=" ".join(f"--{name}" for name in [*known_names(), "help"]),
    )
    if shell == "zsh":
        text = re.sub(r"mapfile -t COMPREPLY < <\((.*)\)", r"COMPREPLY=($(\1))", text)
        return _ZSH + text
    return text


def options_of(verb: str) -> list[str]:
    """Return the options in the help of a command, in order."""
    from espnet_ext.bin.main import module_of

    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        before = sys.argv
        sys.argv = [f"espnet-ext {verb}"]
        try:
            module_of(verb).main(["--help"])
        finally:
            sys.argv = before
    return list(dict.fromkeys(_OPTION.findall(output.getvalue())))


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
