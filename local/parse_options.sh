# shellcheck shell=bash
# Command-line options for shell scripts, without eval: an option is declared before it can be given.
#
#   . local/parse_options.sh
#   option nj 4 "parallel jobs"          # declares $nj, default 4
#   read_settings conf/recipe.conf       # plain assignments: new defaults, and further options
#   parse_options "$@"                   # --nj 8, --nj=8; --a-b is --a_b; --help
#
# ${option_given[nj]} is set if the command line had it; what follows a lone -- is in $arguments.
# A whole number or true/false as the default also says what values are taken. Wrong usage exits 2.

declare -A option_default=() option_help=() option_kind=() option_given=()
declare -a option_names=() arguments=()
option_usage="usage: $(basename "$0") [options]"

bad_usage() { # bad_usage MESSAGE REMEDY
    printf 'error: %s\n  remedy: %s\n' "$1" "$2" >&2
    exit 2
}

option() { # option NAME DEFAULT HELP
    local name=$1 default=$2
    [[ $name =~ ^[a-z][a-z0-9_]*$ ]] || bad_usage "'$name' cannot name an option" "use a-z, 0-9 and _"
    if [[ -z ${option_kind[$name]+known} ]]; then
        option_names+=("$name")
        case $default in
            true | false) option_kind[$name]=boolean ;;
            '' | *[!0-9]*) option_kind[$name]=text ;;
            *) option_kind[$name]=number ;;
        esac
    fi
    option_default[$name]=$default
    [[ -z ${3:-} ]] || option_help[$name]=$3
    declare -g "$name=$default"
}

set_option() { # set_option NAME VALUE: checked against the option's kind
    case ${option_kind[$1]} in
        boolean)
            [[ $2 == true || $2 == false ]] || bad_usage "--$1 $2: neither true nor false" "write --$1 true or --$1 false"
            ;;
        number)
            [[ $2 =~ ^[0-9]+$ ]] || bad_usage "--$1 $2: not a whole number" "write, say, --$1 ${option_default[$1]}"
            declare -g "$1=$((10#$2))" # 08 is eight, not a bad octal number
            return
            ;;
    esac
    declare -g "$1=$2"
}

# read_settings FILE: lines `name=value`, `name="va lue"` or `name='va lue'`, comments and blank lines.
# Nothing is expanded or run. A comment line just above a new name is that option's help.
read_settings() {
    local file=$1 line number=0 name value help="" pattern
    [[ -r $file ]] || bad_usage "$file: no such file" "write it, or name another recipe"
    pattern="^([a-z][a-z0-9_]*)=(\"[^\"\$\`\\]*\"|'[^']*'|[^]['\"\$\`\\ ;&|<>(){}#*?]*)[ ]*(#.*)?\$"
    while IFS= read -r line || [[ -n $line ]]; do
        number=$((number + 1))
        line=${line%$'\r'}
        if [[ -z ${line//[[:space:]]/} ]]; then
            help=""
        elif [[ $line == '#'* ]]; then
            help=${line#\#}
            help=${help# }
        elif [[ $line =~ $pattern ]]; then
            name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
            case $value in \"*\" | \'*\') value=${value:1:${#value}-2} ;; esac
            if [[ -n ${option_kind[$name]+known} ]]; then
                set_option "$name" "$value"
                option_default[$name]=$value
            else
                option "$name" "$value" "$help"
                # An empty or odd value says nothing about kind; a recipe's own settings are text.
                option_kind[$name]=text
            fi
            help=""
        else
            bad_usage "$file:$number: not a plain assignment: $line" "write name=value, quoted if it holds spaces"
        fi
    done <"$file"
}

edit_distance() { # edit_distance A B: Levenshtein
    local a=$1 b=$2 i j previous diagonal cost
    local -a row=()
    for ((j = 0; j <= ${#b}; j++)); do row[j]=$j; done
    for ((i = 1; i <= ${#a}; i++)); do
        diagonal=${row[0]}
        row[0]=$i
        for ((j = 1; j <= ${#b}; j++)); do
            previous=${row[j]}
            cost=$diagonal
            [[ ${a:i-1:1} == "${b:j-1:1}" ]] || cost=$((diagonal + 1))
            ((row[j] + 1 >= cost)) || cost=$((row[j] + 1))
            ((row[j - 1] + 1 >= cost)) || cost=$((row[j - 1] + 1))
            row[j]=$cost
            diagonal=$previous
        done
    done
    printf '%s' "${row[${#b}]}"
}

nearest() { # nearest WORD CANDIDATE...: the candidate with the smallest edit distance
    local word=$1 candidate distance best="" least=1000
    shift
    for candidate in "$@"; do
        distance=$(edit_distance "$word" "$candidate")
        if ((distance < least)); then
            least=$distance
            best=$candidate
        fi
    done
    printf '%s' "$best"
}

print_help() {
    local name
    printf '%s\n\noptions (and their defaults):\n' "$option_usage"
    for name in "${option_names[@]}"; do
        printf '  --%-24s %s (%s)\n' "$name" "${option_help[$name]:-}" "${option_default[$name]:-none}"
    done
}

parse_options() {
    local given name
    arguments=()
    while (($#)); do
        case $1 in
            -h | --help)
                print_help
                exit 0
                ;;
            --)
                shift
                arguments+=("$@")
                return
                ;;
            --*) ;;
            *)
                bad_usage "unexpected argument '$1'" "options are written --name value; see --help"
                ;;
        esac
        given=${1%%=*}
        name=${given#--}
        name=${name//-/_}
        [[ -n $name && -n ${option_kind[$name]+known} ]] ||
            bad_usage "unknown option $given" "did you mean --$(nearest "$name" "${option_names[@]}")? see --help"
        # shellcheck disable=SC2034
        option_given[$name]=true
        if [[ $1 == *=* ]]; then
            set_option "$name" "${1#*=}"
            shift
        else
            (($# > 1)) || bad_usage "$given needs a value" "write $given VALUE; see --help"
            set_option "$name" "$2"
            shift 2
        fi
    done
}
