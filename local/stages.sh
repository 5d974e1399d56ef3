# shellcheck shell=bash
# shellcheck disable=SC2154 # the options are declared by run.sh
# What each stage of run.sh does: which commands, on what, in which order. A stage sets $made, the
# one line that tells what it made and where.

wanted() { # wanted NUMBER SKIP_OPTION: is that stage to be run?
    (($1 >= stage && $1 <= stop_stage)) && [[ ${!2} != true && " $skip_stages " != *" $1 "* ]]
}

stage() { # stage NUMBER SKIP_OPTION TITLE FUNCTION: run it if it is wanted, and say what it made
    local number=$1 what=$3 started=$SECONDS ran made="" verb
    wanted "$1" "$2" || return 0
    : >"$step_journal"
    "$4"
    pool_wait
    ran=$(grep -c '^ran ' "$step_journal" || true)
    verb="$((SECONDS - started)) s"
    if ((ran == 0)); then verb="unchanged"; fi
    printf 'stage %s, %s: %s (%s)\n' "$number" "$what" "$made" "$verb" >&2
}

# -- names and counts

for_language() { # for_language OPTION LANG: <option>_<lang> before <option>, but the command line before both
    local own=$1_${2//[!a-z0-9]/_}
    if [[ -z ${!own:-} ]] || [[ -n ${option_given[$1]:-} && -z ${option_given[$own]:-} ]]; then own=$1; fi
    printf '%s' "${!own}"
}

types_of() { for_language token_types "$1"; } # "surface=phone meaning=char"

outputs_of() { # the names alone: "surface meaning"
    local pair names=()
    for pair in $(types_of "$1"); do names+=("${pair%%=*}"); done
    printf '%s' "${names[*]}"
}

model_dir() { printf '%s' "$expdir/$1/$2_$train_tag"; } # model_dir LANG SYSTEM

system_file() { # the recipe's overlay before the root's
    local path=conf/systems/$1.yaml
    if [[ -f $path ]]; then printf '%s' "$path"; else printf '%s' "$root/$path"; fi
}

all_sets() { printf '%s\n' "$train_set" "$valid_set" "$test_sets"; }

braces() { # braces "ko en": {ko,en}, as in what a stage made
    local list="$*"
    list=${list//$'\n'/ }
    if [[ $list == *" "* ]]; then printf '{%s}' "${list// /,}"; else printf '%s' "$list"; fi
}

count_utterances() { # count_utterances DIR: in all sets of all languages
    local lang set files=()
    for lang in $langs; do
        for set in $(all_sets); do files+=("$1/$lang/$set/wav.scp"); done
    done
    cat "${files[@]}" | wc -l
}

share_threads() { # share_threads N: so many programs at a time on this processor
    local each=$((cores / $1))
    ((each > 0)) || each=1
    export OMP_NUM_THREADS=$each MKL_NUM_THREADS=$each
}

# -- stages 1-5, data

recipe_options() { # the recipe's own options, for its local/data.sh; settings of run.sh's are not among them
    local name
    for name in "${option_names[@]}"; do
        case $name in quick_* | token_types_* | lexicon_* | distance_unit_* | corpus_paths) continue ;; esac
        if [[ $own_options != *" $name "* && -n ${!name} ]]; then printf '%s\0' "--$name" "${!name}"; fi
    done
}

require_all() { # require_all --out FILE …: stop if one is missing
    local word
    for word in "$@"; do
        [[ $word == --out || -s $word ]] || {
            printf 'error: %s: no such file, and there is no local/data.sh that would make it\n' "$word" >&2
            printf '  remedy: put that data directory there, or write %s/local/data.sh\n' "$recipe" >&2
            exit 1
        }
    done
}

prepare_data() {
    local lang set word outputs=() given=() inputs=(--in local/data.sh)
    for lang in $langs; do
        for set in ${train_sets:-$train_set} $valid_set $test_sets; do outputs+=(--out "$datadir/$lang/$set/wav.scp"); done
    done
    if [[ ! -e local/data.sh ]]; then # put there by hand
        require_all "${outputs[@]}"
        combine_sets
        made="$datadir as it is: there is no local/data.sh"
        return
    fi
    mapfile -t -d '' given < <(recipe_options)
    for word in "${given[@]}"; do # a manifest, an archive: edited, it is prepared again
        if [[ -f $word ]]; then inputs+=(--in "$word"); fi
    done
    step data "${inputs[@]}" "${outputs[@]}" --show '^[a-z][a-z0-9_]*: ' -- bash local/data.sh \
        --data_dir "$datadir" --langs "$langs" --quick "$quick" "${given[@]}" --nj "$nj"
    combine_sets
    made="$datadir/$(braces "$langs")/$(braces "$(all_sets)"): $(count_utterances "$datadir") utterances"
}

combine_sets() { # the training sets of a language as one, where several are named
    local lang set dirs inputs
    [[ $train_sets == *" "* ]] || return 0
    for lang in $langs; do
        dirs=() inputs=()
        for set in $train_sets; do dirs+=("$datadir/$lang/$set") inputs+=(--in "$datadir/$lang/$set"); done
        step "$lang/combine" "${inputs[@]}" --out "$datadir/$lang/$train_set/wav.scp" --show ', labelled: ' -- \
            "$python" -m espnet_ext.bin.combine --inputs "${dirs[@]}" --output "$datadir/$lang/$train_set" \
            --outputs "$(outputs_of "$lang")" ${label_outputs:+--label_outputs "$label_outputs"}
    done
}

perturb_speed() {
    local lang
    combine_sets
    for lang in $langs; do
        step "$lang/perturb" --in "$datadir/$lang/$train_set" --out "$datadir/$lang/${train_set}_sp/wav.scp" -- \
            "$python" -m espnet_ext.bin.perturb --input "$datadir/$lang/$train_set" \
            --output "$datadir/$lang/${train_set}_sp" --speeds "$speed_perturb_factors" --nj "$nj" \
            ${channel:+--channel "$channel"}
    done
    made="$datadir/$(braces "$langs")/${train_set}_sp"
}

is_test() { # is_test SET: is it one to decode, of which nothing may be left out?
    if [[ " $test_sets " == *" $1 "* ]]; then printf true; else printf false; fi
}

format_audio() {
    local lang set
    combine_sets # also when stage 1 was left out, as the data were there
    for lang in $langs; do
        for set in $(all_sets); do
            launch_cpus=$nj step "$lang/format_$set" --in "$datadir/$lang/$set" \
                --out "$dumpdir/raw/org/$lang/$set/wav.scp" --run launch -- \
                "$python" -m espnet_ext.bin.format_audio --input "$datadir/$lang/$set" \
                --output "$dumpdir/raw/org/$lang/$set" --sample_rate "$fs" --audio_format "$audio_format" --nj "$nj" \
                --on_error "$on_error" --max_broken "$max_broken" --whole "$(is_test "$set")" ${channel:+--channel "$channel"}
        done
    done
    made="$dumpdir/raw/org/$(braces "$langs")/$(braces "$(all_sets)"): $(count_utterances "$dumpdir/raw/org") utterances"
}

filter_data() {
    local lang set org against
    for lang in $langs; do
        org=$dumpdir/raw/org/$lang
        for set in $(all_sets); do
            against=() # what a set shares with the training set
            if [[ $set != "$train_set" ]]; then against=(--against "$org/$train_set"); fi
            pool "$nj" step "$lang/filter_$set" --in "$org/$set" --in "$org/$train_set" \
                --out "$dumpdir/raw/$lang/$set/wav.scp" --show ': warning: |^  removed |: fixed on writing: ' -- \
                "$python" -m espnet_ext.bin.filter --input "$org/$set" \
                --output "$dumpdir/raw/$lang/$set" --outputs "$(outputs_of "$lang")" --no_filter "$(is_test "$set")" \
                --min_seconds "$min_wav_duration" --max_seconds "$max_wav_duration" \
                --on_error "$on_error" --max_broken "$max_broken" \
                --read_samples "$read_samples" "${against[@]}" \
                ${label_outputs:+--label_outputs "$label_outputs"} ${inline_tags:+--inline_tags "$inline_tags"}
        done
    done
    pool_wait
    made="$dumpdir/raw/$(braces "$langs")/$(braces "$(all_sets)"): $(count_utterances "$dumpdir/raw") utterances, removed ones in removed.tsv"
}

list_tokens() {
    local lang pair output type dir
    for lang in $langs; do
        for pair in $(types_of "$lang"); do
            output=${pair%%=*} type=${pair#*=}
            dir=$datadir/${lang}_token_list/${output}_$type
            local size=()
            if [[ $type == bpe ]]; then size=(--vocab_size "$nbpe"); fi
            pool "$nj" step "$lang/tokens_$output" --in "$dumpdir/raw/$lang/$train_set/text.$output" \
                --out "$dir/tokens.txt" -- \
                "$python" -m espnet_ext.bin.tokens --input "$dumpdir/raw/$lang/$train_set" \
                --output_name "$output" --token_type "$type" --token_dir "$dir" "${size[@]}"
        done
    done
    pool_wait
    made="$datadir/$(braces "$langs")_token_list/*/tokens.txt"
}

# -- stages 10 and 11, training

training_data() { # training_data LANG: fill `data` with what statistics and training share
    data=(--data_dir "$dumpdir/raw/$1" --train_set "$train_set" --valid_set "$valid_set"
        --token_dir "$datadir/${1}_token_list" --outputs "$(types_of "$1")" --stats_dir "$expdir/$1/stats")
}

training_inputs() { # training_inputs LANG: fill `needs` with --in options
    local pair
    needs=(--in "$dumpdir/raw/$1/$train_set" --in "$dumpdir/raw/$1/$valid_set" --in "$train_config")
    for pair in $(types_of "$1"); do needs+=(--in "$datadir/${1}_token_list/${pair/=/_}/tokens.txt"); done
}

collect_statistics() {
    local lang data needs
    share_threads "$inference_nj"
    for lang in $langs; do
        training_data "$lang"
        training_inputs "$lang"
        pool "$inference_nj" step "$lang/stats" "${needs[@]}" --out "$expdir/$lang/stats/train" --run launch -- \
            "$python" -m espnet_ext.bin.train --collect_stats true --config "$train_config" "${data[@]}"
    done
    pool_wait
    made="$expdir/$(braces "$langs")/stats"
}

twin_dir() { # twin_dir LANG SYSTEM: the same system trained from another seed
    printf '%s_twin' "$(model_dir "$1" "$2")"
}

train_one() { # train_one LANG SYSTEM STEP DIR option...: with $data and $needs of the language
    local overlay dir=$4
    overlay=$(system_file "$2")
    launch_cpus=$cores launch_gpus=$ngpu launch_nodes=$num_nodes \
        pool "$parallel_trainings" step "$1/$3" "${needs[@]}" --in "$overlay" \
        --out "$dir/model.pth" --owns "$dir" --run launch -- \
        "$python" -m espnet_ext.bin.train --config "$train_config" --system "$overlay" "${data[@]}" \
        --exp_dir "$dir" --ngpu "$ngpu" --num_nodes "$num_nodes" -- "${@:5}"
}

train_systems() {
    local lang system data needs further=() diagnosed=()
    read -ra further <<<"$train_args"
    # not given, it is what the configuration says
    if [[ -n ${option_given[diagnose_every]:-} || $diagnose_every != 0 ]]; then
        diagnosed=(--diagnose_every "$diagnose_every")
    fi
    share_threads "$parallel_trainings"
    for lang in $langs; do
        training_data "$lang"
        training_inputs "$lang"
        for system in $systems; do
            train_one "$lang" "$system" "train_${system}_$train_tag" "$(model_dir "$lang" "$system")" \
                "${further[@]}" "${diagnosed[@]}"
        done
        for system in $twins; do # the last of two seeds counts
            train_one "$lang" "$system" "train_${system}_${train_tag}_twin" "$(twin_dir "$lang" "$system")" \
                "${further[@]}" --seed "$twin_seed"
        done
    done
    pool_wait
    made="$expdir/$(braces "$langs")/$(braces "$systems")_$train_tag"
}

# -- stages 12 and 13, decoding and scoring

each_decoding() { # each_decoding FUNCTION: called with LANG SYSTEM SET
    local lang system set
    for lang in $langs; do
        for system in $systems; do
            for set in $test_sets; do "$1" "$lang" "$system" "$set"; done
        done
    done
    pool_wait
    made="$expdir/$(braces "$langs")/$(braces "$systems")_$train_tag/$decode_tag/$(braces "$test_sets")"
}

decode_one() {
    local dir lms lm_needs further=() gpus=0
    dir=$(model_dir "$1" "$2")
    if [[ $gpu_inference == true ]]; then gpus=1; fi
    lm_options "$1"
    read -ra further <<<"$inference_args"
    if [[ $coupling == true ]]; then further=(--coupling "$dumpdir/raw/$1/$train_set" "${further[@]}"); fi
    launch_cpus=1 launch_gpus=$gpus pool "$inference_nj" step "$1/decode_${2}_${train_tag}_${decode_tag}_$3" \
        --in "$dir/model.pth" --in "$dumpdir/raw/$1/$3/wav.scp" --in "$decode_config" "${lm_needs[@]}" \
        --out "$dir/$decode_tag/$3/decode.json" --run launch -- \
        "$python" -m espnet_ext.bin.decode --model_dir "$dir" --data "$dumpdir/raw/$1/$3" \
        --output_dir "$dir/$decode_tag/$3" --config "$decode_config" --ngpu "$gpus" "${lms[@]}" "${further[@]}"
}

decode_sets() {
    share_threads "$inference_nj"
    each_decoding decode_one
}

score_one() {
    local hypotheses words=() lexicon_file output inputs=()
    hypotheses=$(model_dir "$1" "$2")/$decode_tag/$3
    lexicon_file=$(for_language lexicon "$1")
    for output in $(outputs_of "$1"); do inputs+=(--in "$hypotheses/text.$output"); done
    if [[ -n $lexicon_file ]]; then words=(--lexicon "$lexicon_file") inputs+=(--in "$lexicon_file"); fi
    pool "$nj" step "$1/score_${2}_${train_tag}_${decode_tag}_$3" --in "$dumpdir/raw/$1/$3" "${inputs[@]}" \
        --out "$hypotheses/score.json" -- \
        "$python" -m espnet_ext.bin.score --data "$dumpdir/raw/$1/$3" --hypotheses "$hypotheses" \
        --token_types "$(types_of "$1")" "${words[@]}"
}

score_sets() {
    share_threads "$nj"
    each_decoding score_one
    made+="/score.json"
}

# -- stages 14 to 16, packing and uploading

pack_models() {
    local lang system dir
    for lang in $langs; do
        for system in $systems; do
            dir=$(model_dir "$lang" "$system")
            step "$lang/pack_${system}_$train_tag" --in "$dir/model.pth" --in "$dir/config.yaml" --out "$dir.zip" -- \
                "$python" -m espnet_ext.bin.pack --model_dir "$dir" --archive "$dir.zip"
        done
    done
    made="$expdir/$(braces "$langs")/$(braces "$systems")_$train_tag.zip"
}

upload_step() { # upload_step LANG SYSTEM VERB: "card" writes what "send" sends
    local dir
    dir=$(model_dir "$1" "$2")
    step "$1/upload_$3_${2}_$train_tag" --in "$dir.zip" --out "$dir.zip" -- \
        "$python" -m espnet_ext.bin.upload --archive "$dir.zip" --repo "$hf_repo" --folder "$1/$2_$train_tag" \
        --language "$1" --send "$([[ $3 == send ]] && echo true || echo false)"
}

upload_all() {
    local lang system
    for lang in $langs; do
        for system in $systems; do upload_step "$lang" "$system" "$1"; done
    done
}

prepare_upload() {
    upload_all card
    made="$expdir/$(braces "$langs")/$(braces "$systems")_$train_tag.README.md, to be read before stage 16"
}

upload_models() {
    upload_all send
    made="$hf_repo on the Hugging Face hub"
}

# -- stage 18, reporting (17 is in compare_stages.sh)

write_report() {
    local lang system set part diagnosed needs=() heading=()
    for lang in $langs; do
        for part in cka probes swaps; do needs+=(--in "$expdir/$lang/analysis/$part.json"); done
        for system in $systems; do
            for set in $test_sets; do needs+=(--in "$(model_dir "$lang" "$system")/$decode_tag/$set"); done
            diagnosed=$(model_dir "$lang" "$system")/diagnostics.jsonl
            if [[ -f $diagnosed ]]; then needs+=(--in "$diagnosed"); fi
        done
        for set in $test_sets; do needs+=(--in "$expdir/$lang/analysis/cross_$set.json"); done
    done
    if [[ -n $title ]]; then heading=(--title "$title"); fi
    step report "${needs[@]}" --out "$results" --out "$html" -- \
        "$python" -m espnet_ext.bin.report --exp_dir "$expdir" --dump_dir "$dumpdir/raw" --langs "$langs" \
        --systems "$systems" --train_tag "$train_tag" --decode_tag "$decode_tag" --sets "$test_sets" \
        --results "$results" --html "$html" "${heading[@]}"
    made="$results, $html"
    reported=true
}

summarize() { # the cells' table again if this call had the report made, and where the rest is
    if [[ $reported == true ]]; then
        printf '\n' >&2
        # the first table of the results, which is the cells'
        awk '/^\|/ { print; inside = 1; next } inside { exit }' "$results"
        printf '\n%s\n%s\n' "$(realpath "$results")" "$(realpath "$html")" >&2
    fi
    printf 'all stages: %s s\n' "$((SECONDS - began))" >&2
}
