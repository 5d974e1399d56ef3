#!/usr/bin/env bash
# The staged pipeline, from data preparation to the report. Without options: the embedded corpus.
# Stage numbers and option names are those of ESPnet's asr.sh where both have them; see ./run.sh
# --help.
#
# Options are declared in espnet_ext/pipeline/options.py; a recipe sets its own in conf/recipe.conf.
# A stage collects its commands with `step` and runs those that are not done with `run_steps`; see
# local/pipeline.sh. Names that end in _of are values by language, and other names that are not set
# here follow from the options: espnet_ext/pipeline/settings.py.
# shellcheck disable=SC2154 # load_options assigns the variables of options
set -euo pipefail

start_dir=$PWD
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=local/pipeline.sh
. "${root}/local/pipeline.sh"
# shellcheck source=local/units.sh
. "${root}/local/units.sh"

load_options "$@"
cd "${recipe}"
use_environment
check_settings
replacing=() piping=() # options of commands that write, and of those that read wav.scp
if [[ ${overwrite} == true ]]; then replacing=(--overwrite true); fi
if [[ ${allow_pipes} == true ]]; then piping=(--allow_pipes true); fi

# ---------------------------------------------------------------------------- data preparation

if stage 1 "data"; then
    products=()
    for lang in ${langs}; do
        for dset in ${prepared_sets}; do products+=(--out "${datadir}/${lang}/${dset}/wav.scp"); done
    done
    if [[ -e local/data.sh ]]; then
        step data --in local/data.sh "${corpus_inputs[@]}" "${products[@]}" \
            ${corpus_module:+--code "${corpus_module}"} --show '^[a-z][a-z0-9_]*: ' -- \
            bash local/data.sh --data_dir "${datadir}" --langs "${langs}" --quick "${quick}" \
            "${corpus_options[@]}" --nj "${nj}"
        run_steps
        origin=""
    else
        require_outputs "${products[@]}"
        origin=" (there is no local/data.sh: taken as they are)"
    fi
    # Products: data directories ${datadir}/<lang>/<set>
    stage_done "${datadir}/${langs_pattern}/${prepared_sets_pattern}: $(count_utterances "${datadir}" "${prepared_sets}") utterances${origin}"
fi
check_canonical_files

# Several training sets (--train_sets) are combined into one, also if stage 1 is skipped
if [[ ${train_sets} == *" "* ]] && { is_selected 1 || is_selected 2 || is_selected 3; }; then
    for lang in ${langs}; do
        folders=() inputs=()
        for dset in ${train_sets}; do
            folders+=("${datadir}/${lang}/${dset}")
            inputs+=(--in "${datadir}/${lang}/${dset}")
        done
        combined=${datadir}/${lang}/${unperturbed_train_set}
        step "${lang}/combine" "${inputs[@]}" --out "${combined}/wav.scp" --show ', labelled: ' -- \
            "${python}" -m espnet_ext.bin.combine --inputs "${folders[@]}" --output "${combined}" \
            --outputs "${outputs_of[${lang}]}" ${label_outputs:+--label_outputs "${label_outputs}"} \
            "${replacing[@]}"
    done
    run_steps
fi

if [[ -n ${speed_perturb_factors} ]] && stage 2 "speed perturbation"; then
    for lang in ${langs}; do
        source_dir=${datadir}/${lang}/${unperturbed_train_set}
        target_dir=${datadir}/${lang}/${train_set}
        step "${lang}/perturb" --in "${source_dir}" --out "${target_dir}/wav.scp" -- \
            "${python}" -m espnet_ext.bin.perturb --input "${source_dir}" --output "${target_dir}" \
            --speeds "${speed_perturb_factors}" --nj "${nj}" \
            ${channel:+--channel "${channel}"} "${piping[@]}" "${replacing[@]}"
    done
    run_steps
    # Products: the training set with its copies at other speeds
    stage_done "${datadir}/${langs_pattern}/${train_set}"
fi

if stage 3 "format audio"; then
    for lang in ${langs}; do
        for dset in ${all_sets}; do
            target_dir=${dumpdir}/raw/org/${lang}/${dset}
            step "${lang}/format_${dset}" --in "${datadir}/${lang}/${dset}" \
                --out "${target_dir}/wav.scp" --launch --cpus "${nj}" --show ': warning: ' -- \
                "${python}" -m espnet_ext.bin.format_audio --input "${datadir}/${lang}/${dset}" \
                --output "${target_dir}" --sample_rate "${fs}" --audio_format "${audio_format}" \
                --nj "${nj}" --on_error "${on_error}" --max_broken "${max_broken}" \
                --whole "${is_test_set[${dset}]}" \
                ${channel:+--channel "${channel}"} "${piping[@]}" "${replacing[@]}"
        done
    done
    run_steps
    # Products: the same directories, with all audio at one sample rate, in one format and channel
    stage_done "${dumpdir}/raw/org/${langs_pattern}/${all_sets_pattern}: $(count_utterances "${dumpdir}/raw/org" "${all_sets}") utterances"
fi

if stage 4 "filter and validate"; then
    for lang in ${langs}; do
        for dset in ${all_sets}; do
            source_dir=${dumpdir}/raw/org/${lang}/${dset}
            target_dir=${dumpdir}/raw/${lang}/${dset}
            train_dir=${dumpdir}/raw/org/${lang}/${train_set}
            against=() # find what a set shares with the training set
            if [[ ${dset} != "${train_set}" ]]; then against=(--against "${train_dir}"); fi
            sharding=() shard_files=()
            if [[ ${dset} == "${train_set}" && ${shards} != 0 ]]; then
                sharding=(--shards "${shards}") shard_files=(--out "${target_dir}/shards/shards.json")
            fi
            step "${lang}/filter_${dset}" --in "${source_dir}" --in "${train_dir}" \
                --out "${target_dir}/wav.scp" "${shard_files[@]}" \
                --show ': warning: |^  removed |: fixed on writing: ' -- \
                "${python}" -m espnet_ext.bin.filter --input "${source_dir}" --output "${target_dir}" \
                --outputs "${outputs_of[${lang}]}" --no_filter "${is_test_set[${dset}]}" \
                --token_types "${token_types_of[${lang}]}" \
                --min_seconds "${min_wav_duration}" --max_seconds "${max_wav_duration}" \
                --on_error "${on_error}" --max_broken "${max_broken}" \
                --read_samples "${read_samples}" "${against[@]}" "${sharding[@]}" \
                ${label_outputs:+--label_outputs "${label_outputs}"} \
                ${inline_tags:+--inline_tags "${inline_tags}"} "${replacing[@]}"
        done
    done
    run_steps "${nj}"
    # Products: what training and decoding read; removed utterances are listed in removed.tsv
    stage_done "${dumpdir}/raw/${langs_pattern}/${all_sets_pattern}: $(count_utterances "${dumpdir}/raw" "${all_sets}") utterances, removed ones in removed.tsv"
fi

if stage 5 "token lists"; then
    for lang in ${langs}; do
        for pair in ${token_types_of[${lang}]}; do
            output=${pair%%=*} token_type=${pair#*=}
            token_dir=${datadir}/${lang}_token_list/${output}_${token_type}
            tokenizer=() tokenizer_input=()
            if [[ ${token_type} == bpe ]]; then
                tokenizer=(--vocab_size "${nbpe}" --bpemode "${bpemode}")
            elif [[ ${token_type} == hugging_face ]]; then
                tokenizer=(--pretrained "${pretrained}")
                if [[ -d ${pretrained} ]]; then tokenizer_input=(--in "${pretrained}/tokenizer.json"); fi
            fi
            step "${lang}/tokens_${output}" --in "${dumpdir}/raw/${lang}/${train_set}/text.${output}" \
                ${nlsyms_txt:+--in "${nlsyms_txt}"} "${tokenizer_input[@]}" \
                --out "${token_dir}/tokens.txt" -- \
                "${python}" -m espnet_ext.bin.tokens --input "${dumpdir}/raw/${lang}/${train_set}" \
                --output_name "${output}" --token_type "${token_type}" --token_dir "${token_dir}" \
                "${tokenizer[@]}" ${nlsyms_txt:+--nlsyms_txt "${nlsyms_txt}"} "${replacing[@]}"
        done
    done
    run_steps "${nj}"
    unit_sets=""
    if [[ -n ${kmeans_feature} ]]; then # discrete units, see local/units.sh
        collect_units
        unit_sets=", ${datadir}/${langs_pattern}_joint_tokens${input_suffix}, ${dumpdir}/raw/${langs_pattern}/{${train_set},${valid_set}}_units${input_suffix}"
    fi
    # Products: one token list per output, with its SentencePiece model for token type bpe
    stage_done "${datadir}/${langs_pattern}_token_list/*/tokens.txt${unit_sets}"
fi

# ---------------------------------------------------------------------------- language models
# One stock ESPnet language model per output, over the tokens of the output

# The options that statistics and training have in common: sets the array lm_options
common_lm_options() { # common_lm_options LANG OUTPUT TOKEN_TYPE
    local texts=${dumpdir}/raw/$1/lm_$2
    lm_options=(--config "${lm_config}" --use_preprocessor true
        --token_type word --token_list "${datadir}/${1}_token_list/${2}_$3/tokens.txt"
        --non_linguistic_symbols none --cleaner none
        --train_data_path_and_name_and_type "${texts}/${train_set}.txt,text,text"
        --valid_data_path_and_name_and_type "${texts}/${valid_set}.txt,text,text")
}

if [[ ${use_lm} == true ]] && stage 6 "LM statistics"; then
    for lang in ${langs}; do
        for pair in ${token_types_of[${lang}]}; do
            output=${pair%%=*} token_type=${pair#*=}
            token_dir=${datadir}/${lang}_token_list/${output}_${token_type}
            texts=${dumpdir}/raw/${lang}/lm_${output}
            for dset in ${all_sets}; do
                text=${dumpdir}/raw/${lang}/${dset}/text.${output}
                step "${lang}/lm_text_${output}_${dset}" --in "${text}" --in "${token_dir}" \
                    --out "${texts}/${dset}.txt" -- \
                    "${python}" -m espnet_ext.bin.lm_text --input "${text}" \
                    --token_type "${token_type}" --token_dir "${token_dir}" \
                    --output "${texts}/${dset}.txt" "${replacing[@]}"
            done
        done
    done
    run_steps "${nj}"
    for lang in ${langs}; do
        for pair in ${token_types_of[${lang}]}; do
            output=${pair%%=*}
            texts=${dumpdir}/raw/${lang}/lm_${output}
            stats=${expdir}/${lang}/lm_stats_${output}
            common_lm_options "${lang}" "${output}" "${pair#*=}"
            step "${lang}/lm_stats_${output}" --in "${texts}" --in "${lm_config}" \
                --out "${stats}/train/text_shape" -- \
                "${python}" -m espnet2.bin.lm_train "${lm_options[@]}" --collect_stats true \
                --output_dir "${stats}" \
                --train_shape_file "${texts}/${train_set}.txt" \
                --valid_shape_file "${texts}/${valid_set}.txt"
        done
    done
    run_steps
    # Products: texts as tokens in ${dumpdir}/raw/<lang>/lm_<output>, and their lengths
    stage_done "${expdir}/${langs_pattern}/lm_stats_*"
fi

if [[ ${use_lm} == true ]] && stage 7 "LM training"; then
    for lang in ${langs}; do
        for pair in ${token_types_of[${lang}]}; do
            output=${pair%%=*}
            lm_exp=${expdir}/${lang}/lm_${output}
            stats=${expdir}/${lang}/lm_stats_${output}
            common_lm_options "${lang}" "${output}" "${pair#*=}"
            step "${lang}/lm_train_${output}" --in "${dumpdir}/raw/${lang}/lm_${output}" \
                --in "${lm_config}" --out "${lm_exp}/valid.loss.ave.pth" --owns "${lm_exp}" \
                --launch --cpus "${cores}" --gpus "${ngpu}" -- \
                "${python}" -m espnet_ext.bin.lm_train --resume_changed "${resume_changed}" \
                --overwrite true -- "${lm_options[@]}" --output_dir "${lm_exp}" --ngpu "${ngpu}" \
                --fold_length 150 "${lm_args[@]}" \
                --train_shape_file "${stats}/train/text_shape" \
                --valid_shape_file "${stats}/valid/text_shape"
        done
    done
    run_steps
    # Products: one language model per output
    stage_done "${expdir}/${langs_pattern}/lm_*"
fi

if [[ ${use_lm} == true ]] && stage 8 "LM perplexity"; then
    for lang in ${langs}; do
        for output in ${outputs_of[${lang}]}; do
            lm_exp=${expdir}/${lang}/lm_${output}
            for dset in ${test_sets}; do
                text=${dumpdir}/raw/${lang}/lm_${output}/${dset}.txt
                step "${lang}/lm_perplexity_${output}_${dset}" --in "${text}" \
                    --in "${lm_exp}/valid.loss.ave.pth" --out "${lm_exp}/perplexity_${dset}/ppl" -- \
                    "${python}" -m espnet2.bin.lm_calc_perplexity --ngpu 0 \
                    --data_path_and_name_and_type "${text},text,text" \
                    --train_config "${lm_exp}/config.yaml" \
                    --model_file "${lm_exp}/valid.loss.ave.pth" \
                    --output_dir "${lm_exp}/perplexity_${dset}"
            done
        done
    done
    run_steps
    # Products: perplexity per token, in lm_<output>/perplexity_<set>/ppl
    perplexities=""
    for lang in ${langs}; do
        for output in ${outputs_of[${lang}]}; do
            for dset in ${test_sets}; do
                perplexities+=" ${lang} ${output} $(<"${expdir}/${lang}/lm_${output}/perplexity_${dset}/ppl")"
            done
        done
    done
    stage_done "per token,${perplexities}"
fi

if [[ ${use_ngram} == true ]] && stage 9 "n-gram models"; then
    for lang in ${langs}; do
        for pair in ${token_types_of[${lang}]}; do
            output=${pair%%=*} token_type=${pair#*=}
            token_dir=${datadir}/${lang}_token_list/${output}_${token_type}
            step "${lang}/ngram_${output}" \
                --in "${dumpdir}/raw/${lang}/${train_set}/text.${output}" --in "${token_dir}" \
                --out "${expdir}/${lang}/ngram_${output}.arpa" -- \
                "${python}" -m espnet_ext.bin.ngram --input "${dumpdir}/raw/${lang}/${train_set}" \
                --output_name "${output}" --token_type "${token_type}" --token_dir "${token_dir}" \
                --order "${ngram_num}" --output "${expdir}/${lang}/ngram_${output}.arpa"
        done
    done
    run_steps
    # Products: one n-gram model per output
    stage_done "${expdir}/${langs_pattern}/ngram_*.arpa"
fi

# ---------------------------------------------------------------------------- training

# The part that statistics and training have in common: sets the arrays training_data,
# training_inputs, shard_options and embedding_options
common_training_options() { # common_training_options LANG
    local pair sets=${kmeans_feature:+_units${input_suffix}} joint=${datadir}/${1}_joint_tokens${input_suffix}
    training_data=(--data_dir "${dumpdir}/raw/$1" --train_set "${train_set}${sets}"
        --valid_set "${valid_set}${sets}" --token_dir "${datadir}/${1}_token_list"
        --outputs "${token_types_of[$1]}" --stats_dir "${asr_stats_dir:-${expdir}/$1/${stats_name}}"
        ${feats_normalize:+--feats_normalize "${feats_normalize}"}
        ${pretrained:+--pretrained "${pretrained}"}
        ${kmeans_feature:+--joint_token_dir "${joint}" --units "${expdir}/$1/units${km_suffix}"})
    training_inputs=(--in "${dumpdir}/raw/$1/${train_set}${sets}" --in "${asr_config}"
        --in "${dumpdir}/raw/$1/${valid_set}${sets}"
        ${kmeans_feature:+--in "${joint}" --in "${expdir}/$1/units${km_suffix}"})
    if [[ -d ${pretrained} ]]; then training_inputs+=(--in "${pretrained}"); fi
    embedding_options=() # training starts with these embeddings of the joint vocabulary
    if [[ -n ${embedding_model} ]]; then
        embedding_options=(--init_param "${expdir}/$1/unit_embeddings${input_suffix}.pth:embed:frontend.embed")
        training_inputs+=(--in "${expdir}/$1/unit_embeddings${input_suffix}.pth")
    fi
    shard_options=()
    if [[ ${shards} != 0 ]]; then
        shard_options=(--train_shards "${dumpdir}/raw/$1/${train_set}/shards" --batching buckets)
    fi
    for pair in ${token_types_of[$1]}; do
        training_inputs+=(--in "${datadir}/${1}_token_list/${pair/=/_}")
    done
}

if stage 10 "statistics"; then
    for lang in ${langs}; do
        common_training_options "${lang}"
        step "${lang}/${stats_name}" "${training_inputs[@]}" \
            --out "${asr_stats_dir:-${expdir}/${lang}/${stats_name}}/train" --launch -- \
            "${python}" -m espnet_ext.bin.train --collect_stats true --config "${asr_config}" \
            "${training_data[@]}"
    done
    run_steps "${inference_nj}"
    # Products: lengths of utterances and transcripts, and feature statistics
    stage_done "${asr_stats_dir:-${expdir}/${langs_pattern}/${stats_name}}"
fi

link_model # --asr_exp: make ${expdir}/<lang>/<system>_<tag> a link to that folder

if stage 11 "training"; then
    for lang in ${langs}; do
        common_training_options "${lang}"
        stats=${asr_stats_dir:-${expdir}/${lang}/${stats_name}}
        training_inputs+=(--in "${stats}/train" --in "${stats}/valid")
        for system in ${systems}; do
            model_dir=${expdir}/${lang}/${system}_${asr_tag}
            step "${lang}/train_${system}_${asr_tag}" "${training_inputs[@]}" \
                --in "${system_config[${system}]}" --out "${model_dir}/model.pth" --owns "${model_dir}" \
                --weight "$(grep -c branch: "${system_config[${system}]}")" \
                --launch --cpus "${cores}" --gpus "${ngpu}" --nodes "${num_nodes}" -- \
                "${python}" -m espnet_ext.bin.train --config "${asr_config}" \
                --system "${system_config[${system}]}" "${training_data[@]}" --exp_dir "${model_dir}" \
                --ngpu "${ngpu}" --num_nodes "${num_nodes}" \
                --resume_changed "${resume_changed}" --overwrite true -- \
                "${shard_options[@]}" "${embedding_options[@]}" "${asr_args[@]}" \
                ${diagnose_every:+--diagnose_every "${diagnose_every}"}
        done
        for system in ${twins}; do # of two --seed options the last one counts
            model_dir=${expdir}/${lang}/${system}_${asr_tag}_twin
            step "${lang}/train_${system}_${asr_tag}_twin" "${training_inputs[@]}" \
                --in "${system_config[${system}]}" --out "${model_dir}/model.pth" --owns "${model_dir}" \
                --weight "$(grep -c branch: "${system_config[${system}]}")" \
                --launch --cpus "${cores}" --gpus "${ngpu}" --nodes "${num_nodes}" -- \
                "${python}" -m espnet_ext.bin.train --config "${asr_config}" \
                --system "${system_config[${system}]}" "${training_data[@]}" --exp_dir "${model_dir}" \
                --ngpu "${ngpu}" --num_nodes "${num_nodes}" \
                --resume_changed "${resume_changed}" --overwrite true -- \
                "${shard_options[@]}" "${embedding_options[@]}" "${asr_args[@]}" --seed "${twin_seed}"
        done
    done
    for training in "${stock_trainings[@]}"; do # --train_baseline: "LANG OUTPUT SYSTEM"
        read -r lang output system <<<"${training}"
        common_training_options "${lang}"
        stats=${asr_stats_dir:-${expdir}/${lang}/stats}
        model_dir=${expdir}/${lang}/stock_${output}_${asr_tag}
        step "${lang}/train_stock_${output}_${asr_tag}" "${training_inputs[@]}" --in "${stats}/train" \
            --in "${stats}/valid" --in "${system_config[${system}]}" --out "${model_dir}/model.pth" \
            --owns "${model_dir}" --launch --cpus "${cores}" --gpus "${ngpu}" -- \
            "${python}" -m espnet_ext.bin.train_stock --config "${asr_config}" \
            --system "${system_config[${system}]}" "${training_data[@]}" --exp_dir "${model_dir}" \
            --ngpu "${ngpu}" --resume_changed "${resume_changed}" --overwrite true -- "${asr_args[@]}"
    done
    run_steps "${parallel_trainings}"
    # Products: config.yaml, model.pth (the averaged weights), train.json, train.log
    stage_done "${expdir}/${langs_pattern}/${systems_pattern}_${asr_tag}"
fi

# ---------------------------------------------------------------------------- decoding and scoring

if [[ ${gpu_inference} == true ]]; then inference_ngpu=1; else inference_ngpu=0; fi

# What is decoded and scored, as "NAME SYSTEM TAG VARIANT": every system, and its variants (with
# --coupling and --canonical_prior) as systems of their own
decodings=() tags_pattern=${inference_tag}
for system in ${systems}; do
    decodings+=("${system} ${system} ${inference_tag} -")
    for variant in coupled prompt twopass; do
        if [[ " ${variants} " == *" ${system}:${variant} "* ]]; then
            tag=${inference_tag}_${variant}
            decodings+=("${system}_${variant} ${system} ${tag} ${variant}")
            if [[ ",${tags_pattern}," != *",${tag},"* ]]; then tags_pattern+=",${tag}"; fi
        fi
    done
done
if [[ ${tags_pattern} == *,* ]]; then tags_pattern="{${tags_pattern}}"; fi

# Baselines (--baselines) are other recognisers, of which only hypotheses are compared. Their folder
# is ${expdir}/<lang>/baseline_<name>; see espnet_ext/pipeline/baselines.py
baseline_decoding() { # baseline_decoding LANG NAME OUTPUT SEARCH: folder of a model's decodings
    local search=${inference_tag} output=_$3
    if [[ $4 == stock ]]; then search=stock; fi
    if [[ $3 == - ]]; then output=""; fi # the output is the model's
    printf '%s' "${expdir}/$1/baseline_$2/decoded_${search}${output}"
}

decode_baselines() { # decode those that are models
    local run lang name output search model folder dset command inputs
    for run in "${baseline_models[@]}"; do
        read -r lang name output search model <<<"${run}"
        folder=$(baseline_decoding "${lang}" "${name}" "${output}" "${search}")
        for dset in ${test_sets}; do
            command=("${python}" -m espnet_ext.bin.decode "${inference_args[@]}" --weights model.pth
                --config "${inference_config}" --search_defaults project) # as the systems
            if [[ ${search} == stock ]]; then
                command=("${python}" -m espnet_ext.bin.decode_stock)
            fi
            if [[ -e ${model} ]]; then inputs=(--in "${model}"); else inputs=(); fi
            step "${lang}/decode_baseline_${name}_${folder##*/}_${dset}" "${inputs[@]}" \
                --in "${dumpdir}/raw/${lang}/${dset}/wav.scp" --in "${inference_config}" \
                --out "${folder}/${dset}/decode.json" --launch --gpus "${inference_ngpu}" -- \
                "${command[@]}" --model_dir "${model}" --data "${dumpdir}/raw/${lang}/${dset}" \
                --output_dir "${folder}/${dset}" --ngpu "${inference_ngpu}" "${replacing[@]}"
        done
    done
}

# The options of a variant of decoding, and its inputs: sets the arrays variant_option and variant_input
variant_options() { # variant_options VARIANT LANG TRAIN_DIR PROMPTS
    local lexicon_file=""
    if [[ ${mdd_unit_of[$2]} == phone ]]; then lexicon_file=${lexicon_of[$2]}; fi
    variant_option=() variant_input=(--in "$3")
    case $1 in
        coupled) variant_option=(--coupling "$3") ;;
        prompt)
            variant_option=(--canonical "$4" --canonical_model "$3")
            variant_input+=(--in "$4")
            ;;
        twopass)
            variant_option=(--canonical_from meaning --canonical_model "$3"
                ${lexicon_file:+--lexicon "${lexicon_file}"})
            variant_input+=(${lexicon_file:+--in "${lexicon_file}"})
            ;;
        *) variant_input=() ;;
    esac
}

if stage 12 "decoding"; then
    weights=$(option_value --weights model.pth "${inference_args[@]}")
    for lang in ${langs}; do
        extra=() extra_inputs=() lms="" ngrams=""
        for output in ${outputs_of[${lang}]}; do
            lms+=" ${output}=${expdir}/${lang}/lm_${output}"
            ngrams+=" ${output}=${expdir}/${lang}/ngram_${output}.arpa"
            if [[ ${use_lm} == true ]]; then
                extra_inputs+=(--in "${expdir}/${lang}/lm_${output}/valid.loss.ave.pth")
            fi
            if [[ ${use_ngram} == true ]]; then
                extra_inputs+=(--in "${expdir}/${lang}/ngram_${output}.arpa")
            fi
        done
        if [[ ${use_lm} == true ]]; then extra+=(--lm "${lms# }"); fi
        if [[ ${use_ngram} == true ]]; then extra+=(--ngram "${ngrams# }"); fi
        for decoding in "${decodings[@]}"; do
            read -r _ system tag variant <<<"${decoding}"
            for dset in ${test_sets}; do
                variant_options "${variant}" "${lang}" "${dumpdir}/raw/${lang}/${train_set}" \
                    "${dumpdir}/raw/${lang}/${dset}/text.canonical"
                model_dir=${expdir}/${lang}/${system}_${asr_tag}
                table_inputs=() # models with conditions read labels such as utt2band
                for table in "${dumpdir}/raw/${lang}/${dset}"/utt2*; do
                    if [[ -e ${table} ]]; then table_inputs+=(--in "${table}"); fi
                done
                step "${lang}/decode_${system}_${asr_tag}_${tag}_${dset}" \
                    --in "${model_dir}/${weights}" --in "${model_dir}/config.yaml" \
                    --in "${dumpdir}/raw/${lang}/${dset}/wav.scp" \
                    --in "${inference_config}" "${table_inputs[@]}" "${extra_inputs[@]}" \
                    "${variant_input[@]}" --out "${model_dir}/${tag}/${dset}/decode.json" \
                    --launch --gpus "${inference_ngpu}" -- \
                    "${python}" -m espnet_ext.bin.decode --model_dir "${model_dir}" \
                    --data "${dumpdir}/raw/${lang}/${dset}" \
                    --output_dir "${model_dir}/${tag}/${dset}" \
                    --config "${inference_config}" --ngpu "${inference_ngpu}" \
                    "${extra[@]}" "${variant_option[@]}" "${inference_args[@]}" "${replacing[@]}"
            done
        done
    done
    decode_baselines
    run_steps "${inference_nj}"
    # Products: text.<output> and n-best lists of all outputs, from one pass over the audio
    stage_done "${expdir}/${langs_pattern}/${systems_pattern}_${asr_tag}/${tags_pattern}/${test_sets_pattern}"
fi

# Collect the step that scores the hypotheses of a set against every reference
score_step() { # score_step NAME LANG SET HYPOTHESES [OPTION…]
    local name=$1 lang=$2 data_dir=${dumpdir}/raw/$2/$3 hypotheses=$4 output inputs
    local lexicon_file=${lexicon_of[$2]}
    shift 4
    inputs=(--in "${data_dir}" ${lexicon_file:+--in "${lexicon_file}"}
        ${nlsyms_txt:+--in "${nlsyms_txt}"})
    for output in ${outputs_of[${lang}]}; do inputs+=(--in "${hypotheses}/text.${output}"); done
    step "${lang}/${name}" "${inputs[@]}" --out "${hypotheses}/score.json" -- \
        "${python}" -m espnet_ext.bin.score --data "${data_dir}" --hypotheses "${hypotheses}" \
        --token_types "${token_types_of[${lang}]}" \
        ${lexicon_file:+--lexicon "${lexicon_file}"} ${nlsyms_txt:+--nlsyms_txt "${nlsyms_txt}"} "$@"
}

score_baselines() { # import the hypotheses of each baseline and score them
    local run lang dset name source output search folder folders hypotheses data_dir inputs
    for run in "${baseline_runs[@]}"; do
        read -r lang dset name <<<"${run}"
        folders=() inputs=()
        for source in "${baseline_texts[@]}"; do # "LANG SET NAME OUTPUT FOLDER"
            [[ ${source} == "${run} "* ]] || continue
            read -r _ _ _ output folder <<<"${source}"
            inputs+=(--in "${folder}")
            if [[ ${output} == - ]]; then folders+=("${folder}"); else folders+=("${output}=${folder}"); fi
        done
        for source in "${baseline_models[@]}"; do # "LANG NAME OUTPUT SEARCH MODEL"
            [[ ${source} == "${lang} ${name} "* ]] || continue
            read -r _ _ output search _ <<<"${source}"
            folder=$(baseline_decoding "${lang}" "${name}" "${output}" "${search}")/${dset}
            inputs+=(--in "${folder}")
            if [[ ${output} == - ]]; then folders+=("${folder}"); else folders+=("${output}=${folder}"); fi
        done
        data_dir=${dumpdir}/raw/${lang}/${dset}
        hypotheses=${expdir}/${lang}/baseline_${name}/${inference_tag}/${dset}
        step "${lang}/baseline_${name}_${inference_tag}_${dset}" "${inputs[@]}" --in "${data_dir}" \
            --out "${hypotheses}/baseline.json" -- \
            "${python}" -m espnet_ext.bin.baseline --hypotheses "${folders[@]}" \
            --data "${data_dir}" --token_types "${token_types_of[${lang}]}" --lang "${lang}" \
            --output_dir "${hypotheses}" --baseline_clean "${baseline_clean}" \
            --nothing_comparable warning "${replacing[@]}"
    done
    run_steps "${nj}"
    for run in "${baseline_runs[@]}"; do
        read -r lang dset name <<<"${run}"
        score_step "score_baseline_${name}_${inference_tag}_${dset}" "${lang}" "${dset}" \
            "${expdir}/${lang}/baseline_${name}/${inference_tag}/${dset}" --missing leave_out
    done
}

if stage 13 "scoring"; then
    for lang in ${langs}; do
        for decoding in "${decodings[@]}"; do
            read -r _ system tag _ <<<"${decoding}"
            for dset in ${test_sets}; do
                score_step "score_${system}_${asr_tag}_${tag}_${dset}" "${lang}" "${dset}" \
                    "${expdir}/${lang}/${system}_${asr_tag}/${tag}/${dset}"
            done
        done
    done
    score_baselines
    run_steps "${nj}"
    # Products: score.json (every output against every reference), score_*/result.txt as in ESPnet
    stage_done "${expdir}/${langs_pattern}/${systems_pattern}_${asr_tag}/${tags_pattern}/${test_sets_pattern}/score.json"
fi

# ---------------------------------------------------------------------------- packing and upload

if stage 14 "packing"; then
    for lang in ${langs}; do
        for system in ${systems}; do
            model_dir=${expdir}/${lang}/${system}_${asr_tag}
            step "${lang}/pack_${system}_${asr_tag}" --in "${model_dir}/model.pth" \
                --in "${model_dir}/config.yaml" --out "${model_dir}.zip" -- \
                "${python}" -m espnet_ext.bin.pack --model_dir "${model_dir}" --archive "${model_dir}.zip"
        done
    done
    run_steps
    # Products: one archive per model
    stage_done "${expdir}/${langs_pattern}/${systems_pattern}_${asr_tag}.zip"
fi

if stage 15 "model card"; then
    for lang in ${langs}; do
        for system in ${systems}; do
            archive=${expdir}/${lang}/${system}_${asr_tag}.zip
            step "${lang}/upload_card_${system}_${asr_tag}" --in "${archive}" --out "${archive}" -- \
                "${python}" -m espnet_ext.bin.upload --archive "${archive}" --repo "${hf_repo}" \
                --folder "${lang}/${system}_${asr_tag}" --language "${lang}" --send false
        done
    done
    run_steps
    # Products: the model cards that stage 16 uploads
    stage_done "${expdir}/${langs_pattern}/${systems_pattern}_${asr_tag}.README.md, to be read before stage 16"
fi

if stage 16 "upload"; then
    for lang in ${langs}; do
        for system in ${systems}; do
            archive=${expdir}/${lang}/${system}_${asr_tag}.zip
            step "${lang}/upload_send_${system}_${asr_tag}" --in "${archive}" --out "${archive}" -- \
                "${python}" -m espnet_ext.bin.upload --archive "${archive}" --repo "${hf_repo}" \
                --folder "${lang}/${system}_${asr_tag}" --language "${lang}" --send true
        done
    done
    run_steps
    # Products: a private repository on the Hugging Face hub
    stage_done "${hf_repo} on the Hugging Face hub"
fi

# ---------------------------------------------------------------------------- comparison and report

# As common_training_options, for a training set with labels removed (--stress): sets the arrays
# stress_data and stress_inputs
stress_training_options() { # stress_training_options LANG SET
    stress_data=(--data_dir "${dumpdir}/raw/$1/stress" --train_set "$2"
        --valid_set "../${valid_set}" --token_dir "${datadir}/${1}_token_list"
        --outputs "${token_types_of[$1]}" --stats_dir "${expdir}/$1/stress/stats_$2"
        ${feats_normalize:+--feats_normalize "${feats_normalize}"}
        ${pretrained:+--pretrained "${pretrained}"})
    stress_inputs=(--in "${dumpdir}/raw/$1/stress/$2" --in "${dumpdir}/raw/$1/${valid_set}"
        --in "${asr_config}")
    if [[ -d ${pretrained} ]]; then stress_inputs+=(--in "${pretrained}"); fi
}

# The stress test (--stress): measure the errors of each output as labels of one output are removed.
# All trainings have the same number of epochs, batches per epoch and updates. The sets and trainings
# are listed by espnet_ext/pipeline/stress.py; without --stress there are none.
stress_test() {
    local lang stress_set stress_run name share complete system seed model test_set
    local model_dir seed_option stats
    for lang in ${langs}; do
        for stress_set in "${stress_sets[@]}"; do
            read -r name share complete <<<"${stress_set}"
            step "${lang}/stress_${name}" --in "${dumpdir}/raw/${lang}/${train_set}" \
                --out "${dumpdir}/raw/${lang}/stress/${name}/wav.scp" -- \
                "${python}" -m espnet_ext.bin.drop_labels --input "${dumpdir}/raw/${lang}/${train_set}" \
                --output "${dumpdir}/raw/${lang}/stress/${name}" --output_name "${stress_output}" \
                --share "${share}" --seed "${stress_seed}" --outputs "${outputs_of[${lang}]}" \
                --complete "${complete}" "${replacing[@]}"
        done
    done
    run_steps "${nj}"

    for lang in ${langs}; do
        for stress_set in "${stress_sets[@]}"; do
            read -r name _ <<<"${stress_set}"
            stress_training_options "${lang}" "${name}"
            step "${lang}/stress_stats_${name}" "${stress_inputs[@]}" \
                --out "${expdir}/${lang}/stress/stats_${name}/train" --launch -- \
                "${python}" -m espnet_ext.bin.train --collect_stats true --config "${asr_config}" \
                "${stress_data[@]}"
        done
    done
    run_steps "${inference_nj}"

    for lang in ${langs}; do
        for stress_run in "${stress_runs[@]}"; do
            read -r name system seed model _ <<<"${stress_run}"
            stress_training_options "${lang}" "${name}"
            model_dir=${expdir}/${lang}/stress/${model}
            seed_option=()
            if ((seed > 0)); then seed_option=(--seed "${seed}"); fi
            stats=${expdir}/${lang}/stress/stats_${name}
            step "${lang}/stress_train_${model}" "${stress_inputs[@]}" --in "${stats}/train" \
                --in "${stats}/valid" --in "${system_config[${system}]}" --out "${model_dir}/model.pth" --owns "${model_dir}" \
                --launch --cpus "${cores}" --gpus "${ngpu}" --nodes "${num_nodes}" -- \
                "${python}" -m espnet_ext.bin.train --config "${asr_config}" \
                --system "${system_config[${system}]}" "${stress_data[@]}" --exp_dir "${model_dir}" \
                --match_updates "${asr_stats_dir:-${expdir}/${lang}/stats}" \
                --ngpu "${ngpu}" --num_nodes "${num_nodes}" \
                --resume_changed "${resume_changed}" --overwrite true -- "${asr_args[@]}" "${seed_option[@]}"
        done
    done
    run_steps "${parallel_trainings}"

    test_set=${first_test_set}
    for lang in ${langs}; do
        for stress_run in "${stress_runs[@]}"; do
            read -r _ _ _ model _ <<<"${stress_run}"
            model_dir=${expdir}/${lang}/stress/${model}
            step "${lang}/stress_decode_${model}_${inference_tag}" --in "${model_dir}/model.pth" \
                --in "${model_dir}/config.yaml" \
                --in "${dumpdir}/raw/${lang}/${test_set}/wav.scp" --in "${inference_config}" \
                --out "${model_dir}/${inference_tag}/${test_set}/decode.json" \
                --launch --gpus "${inference_ngpu}" -- \
                "${python}" -m espnet_ext.bin.decode --model_dir "${model_dir}" \
                --data "${dumpdir}/raw/${lang}/${test_set}" \
                --output_dir "${model_dir}/${inference_tag}/${test_set}" \
                --config "${inference_config}" --ngpu "${inference_ngpu}" "${replacing[@]}"
        done
    done
    run_steps "${inference_nj}"

    for lang in ${langs}; do
        for stress_run in "${stress_runs[@]}"; do
            read -r _ _ _ model _ <<<"${stress_run}"
            score_step "stress_score_${model}_${inference_tag}" "${lang}" "${test_set}" \
                "${expdir}/${lang}/stress/${model}/${inference_tag}/${test_set}"
        done
    done
    run_steps "${inference_nj}"
}

if stage 17 "comparison of systems"; then
    # All analyses of the registry (espnet_ext/analysis) that have their inputs, as commands like
    #   espnet-ext analyze cka --models do=exp/ko/do_small … --data dump/raw/ko/test --output …
    # Each declares where its inputs are, its result files, and what asks for it (--swaps true, task
    # vectors, --stress). A note says which cannot run, and why.
    analysis_steps texts # differences of systems, mispronunciation detection
    run_steps "${nj}"
    analysis_steps models # similarity of layers, probes, exchanged encoders, task vectors
    run_steps "${inference_nj}"
    stress_test
    analysis_steps stress # the trainings of the stress test compared
    run_steps
    # Products: mdd.json and mdd_no_prompt.json beside score.json, and ${expdir}/<lang>/analysis
    stage_done "${expdir}/${langs_pattern}/${systems_pattern}_${asr_tag}/${tags_pattern}/${test_sets_pattern}/mdd*.json where canonical forms are known, ${expdir}/${langs_pattern}/analysis/*.json"
fi

if stage 18 "report"; then
    # Its inputs are all files that it reads: every analysis, decoding, training and data set.
    # Languages and test sets of the recipe that have results stay in the report (reported_*).
    inputs=()
    for lang in ${reported_langs}; do
        inputs+=(--in "${expdir}/${lang}/analysis")
        for dset in ${all_sets}; do inputs+=(--in "${dumpdir}/raw/${lang}/${dset}"); done
        for decoding in "${decodings[@]}"; do
            read -r _ system tag _ <<<"${decoding}"
            model_dir=${expdir}/${lang}/${system}_${asr_tag}
            inputs+=(--in "${model_dir}/train.json" --in "${model_dir}/diagnostics.jsonl"
                --in "${model_dir}/calibration.json")
            for dset in ${reported_sets}; do inputs+=(--in "${model_dir}/${tag}/${dset}"); done
        done
        for name in ${baseline_names}; do
            inputs+=(--in "${expdir}/${lang}/${name}_${asr_tag}/train.json") # of --train_baseline
            for dset in ${reported_sets}; do
                inputs+=(--in "${expdir}/${lang}/baseline_${name}/${inference_tag}/${dset}")
            done
        done
    done
    details=${results%.md}_details.md
    report_options=()
    if [[ ${quick} == true ]]; then report_options+=(--quick true); fi
    if [[ ${published} == false ]]; then report_options+=(--published false); fi
    step report "${inputs[@]}" --out "${results}" --out "${details}" --out "${html}" -- \
        "${python}" -m espnet_ext.bin.report --exp_dir "${expdir}" --dump_dir "${dumpdir}/raw" \
        --langs "${reported_langs}" --systems "${systems}" --train_tag "${asr_tag}" \
        --decode_tag "${inference_tag}" --sets "${reported_sets}" \
        ${variants:+--variants "${variants}"} \
        ${baseline_names:+--baselines "${baseline_names}"} \
        --results "${results}" --details "${details}" --html "${html}" \
        ${title:+--title "${title}"} ${caveat:+--caveat "${caveat}"} "${report_options[@]}"
    run_steps
    # Products: a page of results, all tables, and a page with figures and audio
    if [[ ${update_results} == true ]]; then
        cp "${results}" RESULTS.md
        cp "${details}" RESULTS_details.md
        cp "${html}" report.html
    fi
    stage_done "${results}, ${html}"
    print_results "${results}" "${html}"
fi

say 'all stages: %s s\n' "$((SECONDS - run_start))"
