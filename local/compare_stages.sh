# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # the options are declared by run.sh, made is read in local/stages.sh
# Stage 17: what the systems have in common inside, what their errors say of the learners. Uses the
# options of run.sh and the functions of stages.sh.

look_inside() { # look_inside LANG VERB NAME=DIR... [--config FILE]: what is fitted to training data
    local lang=$1 verb=$2 train=$dumpdir/raw/$1/$train_set test=$dumpdir/raw/$1/${test_sets%% *}
    pool "$inference_nj" step "$lang/$verb" "${needs[@]}" --in "$train" --in "$test" \
        --out "$expdir/$lang/analysis/$verb.json" -- \
        "$python" -m espnet_ext.bin.analyze "$verb" --data "$test" --train "$train" \
        --output "$expdir/$lang/analysis/$verb.json" --max_train 300 --models "${@:3}"
}

compare_inside() { # encoders and decoders, layer by layer
    local lang system set=${test_sets%% *} dir models needs written twin
    if [[ $systems != *" "* ]]; then
        made+=", no encoders to compare: one system alone"
        return
    fi
    share_threads "$inference_nj"
    for lang in $langs; do
        models=() needs=() written=() twin=()
        for system in $systems; do
            dir=$(model_dir "$lang" "$system")
            models+=("$system=$dir")
            needs+=(--in "$dir/model.pth")
            if [[ -d $dir/$decode_tag/$set ]]; then
                written+=("$system=$dir/$decode_tag/$set")
                needs+=(--in "$dir/$decode_tag/$set/decode.json")
            fi
        done
        for system in $twins; do
            twin+=("$system=$(twin_dir "$lang" "$system")")
            needs+=(--in "$(twin_dir "$lang" "$system")/model.pth")
        done
        if ((${#written[@]})); then written=(--hypotheses "${written[@]}"); fi
        if ((${#twin[@]})); then twin=(--twins "${twin[@]}"); fi
        # the name has no tag, as its output has none: another training's figures are not kept
        pool "$inference_nj" step "$lang/cka" "${needs[@]}" --in "$dumpdir/raw/$lang/$set/wav.scp" \
            --out "$expdir/$lang/analysis/cka.json" -- \
            "$python" -m espnet_ext.bin.analyze cka --models "${models[@]}" --data "$dumpdir/raw/$lang/$set" \
            "${written[@]}" "${twin[@]}" --output "$expdir/$lang/analysis/cka.json"
        look_inside "$lang" probes "${models[@]}"
        if [[ $swaps == true ]]; then look_inside "$lang" swaps "${models[@]}" --config "$decode_config"; fi
    done
    pool_wait
    made+=", $expdir/$(braces "$langs")/analysis/*.json"
}

judge_one() { # judge_one LANG SYSTEM SET: mispronunciations, where canonical and surface are known
    local hypotheses texts=$dumpdir/raw/$1/$3 unit=char words=() lexicon_file how further
    hypotheses=$(model_dir "$1" "$2")/$decode_tag/$3
    [[ -f $texts/text.canonical && -f $texts/text.surface && -f $hypotheses/text.surface ]] || return 0
    lexicon_file=$(for_language lexicon "$1")
    if [[ $1 == ko ]]; then unit=jamo; fi
    if [[ " $(types_of "$1") " == *" surface=phone "* ]]; then
        unit=phone
        if [[ -n $lexicon_file ]]; then words=(--lexicon "$lexicon_file"); fi
    fi
    for how in mdd mdd_no_prompt; do
        further=()
        if [[ $how == mdd && -f $texts/utt2score ]]; then further=(--utt2score "$texts/utt2score"); fi
        if [[ $how == mdd_no_prompt ]]; then
            # letters are pronounced by the rules of Korean; there are none for other languages' letters
            [[ -f $hypotheses/text.meaning && $unit != char ]] || continue
            further=(--meaning "$hypotheses/text.meaning" "${words[@]}")
            if [[ $1 == en && $unit == phone ]]; then further+=(--g2p true); fi
        fi
        pool "$nj" step "$1/${how}_${2}_${train_tag}_${decode_tag}_$3" --in "$texts" --in "$hypotheses/text.surface" \
            --out "$hypotheses/$how.json" -- \
            "$python" -m espnet_ext.bin.mdd --canonical "$texts/text.canonical" --perceived "$texts/text.surface" \
            --hypothesis "$hypotheses/text.surface" --unit "$unit" --utt2spk "$texts/utt2spk" \
            --json "$hypotheses/$how.json" "${further[@]}"
    done
}

judge_mispronunciations() {
    share_threads "$nj"
    each_decoding judge_one
    made+="/mdd*.json where canonical forms are known"
}

evaluate_across() { # divergence, consistency of outputs, differences: all systems of a set together
    local lang system set systems_given needs words unit lexicon_file
    share_threads "$nj"
    for lang in $langs; do
        words=() unit=$(for_language distance_unit "$lang") lexicon_file=$(for_language lexicon "$lang")
        if [[ -n $unit ]]; then words+=(--unit "$unit"); fi
        if [[ -n $lexicon_file ]]; then words+=(--lexicon "$lexicon_file"); fi
        for set in $test_sets; do
            systems_given=() needs=()
            for system in $systems; do
                systems_given+=("$system=$(model_dir "$lang" "$system")/$decode_tag/$set")
                needs+=(--in "$(model_dir "$lang" "$system")/$decode_tag/$set/utterances.json")
            done
            if [[ -n $lexicon_file ]]; then needs+=(--in "$lexicon_file"); fi
            pool "$nj" step "$lang/cross_$set" "${needs[@]}" --out "$expdir/$lang/analysis/cross_$set.json" -- \
                "$python" -m espnet_ext.bin.cross --systems "${systems_given[@]}" \
                --output "$expdir/$lang/analysis/cross_$set.json" "${words[@]}"
        done
    done
    pool_wait
    made+=", $expdir/$(braces "$langs")/analysis/cross_$(braces "$test_sets").json"
}

inspect_vectors() { # of systems with task vectors, if there are any
    local lang system dir models needs
    for lang in $langs; do
        models=() needs=()
        for system in $systems; do
            grep -q '^conditioning: *vectors' "$(system_file "$system")" || continue
            dir=$(model_dir "$lang" "$system")
            models+=("$system=$dir") needs+=(--in "$dir/model.pth")
        done
        ((${#models[@]})) || continue
        pool "$inference_nj" step "$lang/vectors" "${needs[@]}" --in "$dumpdir/raw/$lang/${test_sets%% *}" \
            --in "$decode_config" --out "$expdir/$lang/analysis/vectors.json" -- \
            "$python" -m espnet_ext.bin.analyze vectors --models "${models[@]}" --config "$decode_config" \
            --data "$dumpdir/raw/$lang/${test_sets%% *}" --output "$expdir/$lang/analysis/vectors.json"
    done
    pool_wait
}

compare_systems() {
    judge_mispronunciations
    evaluate_across
    compare_inside
    inspect_vectors
    if [[ -n ${stress//[[:space:]]/} ]]; then take_labels_away; fi
}
