# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # the options are declared by run.sh, made is read in local/stages.sh
# Stage 17 with --stress: how each output fares when fewer utterances have labels for one of them.
# For every percentage the same labels are taken away (a larger one takes all that a smaller one does)
# and each of $stress_systems is trained on what is left; the first one also on the complete part
# alone, which is what training does that cannot leave an output out. All make as many updates, and
# as many epochs of as many batches: so each averages weights of the same part of its training.
# Each is trained $stress_trainings times, from seeds that follow each other.

each_stress() { # each_stress FUNCTION: called with LANG PERCENT WAY SYSTEM SEED, way "complete" or "all"
    local lang percent system seed
    for lang in $langs; do
        for percent in $stress; do
            for ((seed = 0; seed < stress_trainings; seed++)); do
                "$1" "$lang" "$percent" complete "${stress_systems%% *}" "$seed"
                for system in $stress_systems; do "$1" "$lang" "$percent" all "$system" "$seed"; done
            done
        done
    done
    pool_wait
}

stress_set() { printf '%s' "${stress_output}$1_$2"; } # stress_set PERCENT WAY
stress_dir() { # stress_dir LANG PERCENT WAY SYSTEM SEED
    printf '%s' "$expdir/$1/stress/$(stress_set "$2" "$3")_${4}_$train_tag"
    if [[ $5 != 0 ]]; then printf '_seed%s' "$5"; fi
}
first_of_set() { [[ $1 == "${stress_systems%% *}" && $2 == 0 ]]; } # first_of_set SYSTEM SEED

take_labels() { # once a set, whatever is trained on it
    local complete=false set share raw=$dumpdir/raw/$1
    first_of_set "$4" "$5" || return 0
    set=$(stress_set "$2" "$3")
    if [[ $3 == complete ]]; then complete=true; fi
    printf -v share '0.%02d' "$2"
    pool "$nj" step "$1/stress_$set" --in "$raw/$train_set" --out "$raw/stress/$set/wav.scp" -- \
        "$python" -m espnet_ext.bin.drop_labels --input "$raw/$train_set" --output "$raw/stress/$set" \
        --output_name "$stress_output" --share "$share" --seed "$stress_seed" \
        --outputs "$(outputs_of "$1")" --complete "$complete"
}

stress_data() { # stress_data LANG PERCENT WAY: fill `data` and `needs`
    local set
    set=$(stress_set "$2" "$3")
    data=(--data_dir "$dumpdir/raw/$1/stress" --train_set "$set" --valid_set "../$valid_set"
        --token_dir "$datadir/${1}_token_list" --outputs "$(types_of "$1")" --stats_dir "$expdir/$1/stress/stats_$set")
    needs=(--in "$dumpdir/raw/$1/stress/$set" --in "$dumpdir/raw/$1/$valid_set" --in "$train_config")
}

stress_statistics() {
    local data needs
    first_of_set "$4" "$5" || return 0
    stress_data "$1" "$2" "$3"
    pool "$inference_nj" step "$1/stress_stats_$(stress_set "$2" "$3")" "${needs[@]}" \
        --out "$expdir/$1/stress/stats_$(stress_set "$2" "$3")/train" --run launch -- \
        "$python" -m espnet_ext.bin.train --collect_stats true --config "$train_config" "${data[@]}"
}

stress_train() {
    local data needs further=() dir overlay
    read -ra further <<<"$train_args"
    if [[ $5 != 0 ]]; then further+=(--seed "$5"); fi
    stress_data "$1" "$2" "$3"
    dir=$(stress_dir "$@") overlay=$(system_file "$4")
    launch_cpus=$cores launch_gpus=$ngpu launch_nodes=$num_nodes \
        pool "$parallel_trainings" step "$1/stress_train_$(basename "$dir")" "${needs[@]}" --in "$overlay" \
        --out "$dir/model.pth" --owns "$dir" --run launch -- \
        "$python" -m espnet_ext.bin.train --config "$train_config" --system "$overlay" "${data[@]}" \
        --exp_dir "$dir" --match_updates "$expdir/$1/stats" --ngpu "$ngpu" --num_nodes "$num_nodes" -- "${further[@]}"
}

stress_decode() {
    local dir set=${test_sets%% *} gpus=0
    dir=$(stress_dir "$@")
    if [[ $gpu_inference == true ]]; then gpus=1; fi
    launch_cpus=1 launch_gpus=$gpus pool "$inference_nj" step "$1/stress_decode_$(basename "$dir")_$decode_tag" \
        --in "$dir/model.pth" --in "$dumpdir/raw/$1/$set/wav.scp" --in "$decode_config" \
        --out "$dir/$decode_tag/$set/decode.json" --run launch -- \
        "$python" -m espnet_ext.bin.decode --model_dir "$dir" --data "$dumpdir/raw/$1/$set" \
        --output_dir "$dir/$decode_tag/$set" --config "$decode_config" --ngpu "$gpus"
}

stress_score() {
    local dir set=${test_sets%% *} words=() lexicon_file
    dir=$(stress_dir "$@")/$decode_tag/$set
    lexicon_file=$(for_language lexicon "$1")
    if [[ -n $lexicon_file ]]; then words=(--lexicon "$lexicon_file"); fi
    pool "$nj" step "$1/stress_score_$(basename "$(stress_dir "$@")")_$decode_tag" --in "$dumpdir/raw/$1/$set" \
        --in "$dir/decode.json" --out "$dir/score.json" -- \
        "$python" -m espnet_ext.bin.score --data "$dumpdir/raw/$1/$set" --hypotheses "$dir" \
        --token_types "$(types_of "$1")" "${words[@]}"
}

stress_note() { # into `runs` and `needs` of the language in $wanted_lang
    local dir name=$4
    [[ $1 == "$wanted_lang" ]] || return 0
    dir=$(stress_dir "$@")/$decode_tag/${test_sets%% *}
    if [[ $3 == complete ]]; then name=complete; fi
    runs+=("$2:$name=$dir") needs+=(--in "$dir/score.json")
}

take_labels_away() {
    local wanted_lang runs needs
    share_threads "$nj"
    each_stress take_labels
    share_threads "$inference_nj"
    each_stress stress_statistics
    share_threads "$parallel_trainings"
    each_stress stress_train
    share_threads "$inference_nj"
    each_stress stress_decode
    each_stress stress_score
    for wanted_lang in $langs; do
        runs=() needs=()
        each_stress stress_note
        step "$wanted_lang/partial" "${needs[@]}" --out "$expdir/$wanted_lang/analysis/partial.json" -- \
            "$python" -m espnet_ext.bin.analyze partial --runs "${runs[@]}" --output_name "$stress_output" \
            --output "$expdir/$wanted_lang/analysis/partial.json"
    done
}
