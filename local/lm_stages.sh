# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # the options are declared by run.sh, lms is read in local/stages.sh
# Stages 6 to 9 of run.sh: language models of each output, and what decoding is told of them.

# -- stages 6-8, one stock ESPnet language model per output, over the model's own tokens

each_output() { # each_output FUNCTION: called with LANG OUTPUT TYPE
    local lang pair
    for lang in $langs; do
        for pair in $(types_of "$lang"); do "$1" "$lang" "${pair%%=*}" "${pair#*=}"; done
    done
}

lm_command() { # lm_command LANG OUTPUT TYPE: fill `command` with what statistics and training share
    local text=$dumpdir/raw/$1/lm_$2
    command=("$python" -m espnet2.bin.lm_train --config "$lm_config" --use_preprocessor true
        --token_type word --token_list "$datadir/${1}_token_list/${2}_$3/tokens.txt"
        --non_linguistic_symbols none --cleaner none
        --train_data_path_and_name_and_type "$text/$train_set.txt,text,text"
        --valid_data_path_and_name_and_type "$text/$valid_set.txt,text,text")
}

collect_lm_output() {
    local set command texts=$dumpdir/raw/$1/lm_$2 stats=$expdir/$1/lm_stats_$2
    for set in $(all_sets); do
        step "$1/lm_text_$2_$set" --in "$dumpdir/raw/$1/$set/text.$2" --in "$datadir/${1}_token_list/${2}_$3" \
            --out "$texts/$set.txt" -- "$python" "$root/local/lm_text.py" --input "$dumpdir/raw/$1/$set/text.$2" \
            --token_type "$3" --token_dir "$datadir/${1}_token_list/${2}_$3" --output "$texts/$set.txt"
    done
    lm_command "$@"
    # shape files, one a set, listed once as ESPnet's scripts do
    step "$1/lm_stats_$2" --in "$texts" --in "$lm_config" --out "$stats/train/text_shape" -- \
        "${command[@]}" --collect_stats true --output_dir "$stats" \
        --train_shape_file "$texts/$train_set.txt" --valid_shape_file "$texts/$valid_set.txt"
}

train_lm_output() {
    local command further=() dir=$expdir/$1/lm_$2 stats=$expdir/$1/lm_stats_$2
    read -ra further <<<"$lm_args"
    lm_command "$@"
    launch_cpus=$cores launch_gpus=$ngpu step "$1/lm_train_$2" --in "$dumpdir/raw/$1/lm_$2" --in "$lm_config" \
        --out "$dir/valid.loss.ave.pth" --run launch --owns "$dir" -- \
        "${command[@]}" --resume true --output_dir "$dir" --ngpu "$ngpu" --fold_length 150 "${further[@]}" \
        --train_shape_file "$stats/train/text_shape" --valid_shape_file "$stats/valid/text_shape"
}

measure_output() {
    local set dir=$expdir/$1/lm_$2
    for set in $test_sets; do
        step "$1/lm_perplexity_$2_$set" --in "$dumpdir/raw/$1/lm_$2/$set.txt" --in "$dir/valid.loss.ave.pth" \
            --out "$dir/perplexity_$set/ppl" -- "$python" -m espnet2.bin.lm_calc_perplexity --ngpu 0 \
            --data_path_and_name_and_type "$dumpdir/raw/$1/lm_$2/$set.txt,text,text" \
            --train_config "$dir/config.yaml" --model_file "$dir/valid.loss.ave.pth" --output_dir "$dir/perplexity_$set"
        made+="$1 $2 $(<"$dir/perplexity_$set/ppl") "
    done
}

collect_lm_statistics() {
    each_output collect_lm_output
    made="$expdir/$(braces "$langs")/lm_stats_*"
}

train_lms() {
    share_threads 1
    each_output train_lm_output
    made="$expdir/$(braces "$langs")/lm_*"
}

measure_perplexity() {
    each_output measure_output
    made="per token, ${made% }"
}

# -- stage 9, an n-gram model per output

estimate_output() {
    step "$1/ngram_$2" --in "$dumpdir/raw/$1/$train_set/text.$2" --in "$datadir/${1}_token_list/${2}_$3" \
        --out "$expdir/$1/ngram_$2.arpa" -- "$python" -m espnet_ext.bin.ngram --input "$dumpdir/raw/$1/$train_set" \
        --output_name "$2" --token_type "$3" --token_dir "$datadir/${1}_token_list/${2}_$3" \
        --order "$ngram_num" --output "$expdir/$1/ngram_$2.arpa"
}

estimate_ngrams() {
    each_output estimate_output
    made="$expdir/$(braces "$langs")/ngram_*.arpa"
}

# -- for stage 12

lm_options() { # lm_options LANG: fill `lms` with options of decoding, and `lm_needs` with --in options
    local output neural=() counted=()
    lms=() lm_needs=()
    for output in $(outputs_of "$1"); do
        neural+=("$output=$expdir/$1/lm_$output") counted+=("$output=$expdir/$1/ngram_$output.arpa")
        if [[ $use_lm == true ]]; then lm_needs+=(--in "$expdir/$1/lm_$output/valid.loss.ave.pth"); fi
        if [[ $use_ngram == true ]]; then lm_needs+=(--in "$expdir/$1/ngram_$output.arpa"); fi
    done
    if [[ $use_lm == true ]]; then lms+=(--lm "${neural[*]}"); fi
    if [[ $use_ngram == true ]]; then lms+=(--ngram "${counted[*]}"); fi
}
