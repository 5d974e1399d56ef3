# shellcheck shell=bash
# shellcheck disable=SC2154 # load_options assigns the variables of options
# Stage 5 of run.sh for systems that read discrete units (--kmeans_feature); see docs/units.md.
#
# Files by language:
#   exp/<lang>/units               k-means
#   dump/units/<lang>/<set>        units of the training and the validation set
#   data/<lang>_joint_tokens       the joint vocabulary of units and text
#   exp/<lang>/unit_embeddings.pth first embeddings of the joint vocabulary (--unit_embeddings)
#   dump/raw/<lang>/<set>_units    input ids and transcripts, which stages 10 and 11 read
# --km_tag is a suffix of the first two, and --input_tag of the others.
# Test sets are decoded from audio: the model makes their units.

collect_units() { # k-means, units, vocabulary, input ids
    local lang dset gpus=0 processes=${nj}
    if [[ ${gpu_inference} == true ]]; then gpus=1 processes=1; fi
    for lang in ${langs}; do
        step "${lang}/kmeans${km_suffix}" --in "${dumpdir}/raw/${lang}/${train_set}/wav.scp" \
            "${unit_feature_inputs[@]}" --out "${expdir}/${lang}/units${km_suffix}/kmeans.npz" \
            --out "${expdir}/${lang}/units${km_suffix}/units.json" --launch --gpus "${gpus}" -- \
            "${python}" -m espnet_ext.bin.learn_kmeans --input "${dumpdir}/raw/${lang}/${train_set}" \
            --output "${expdir}/${lang}/units${km_suffix}" "${unit_features[@]}" --clusters "${nclusters}" \
            --residual_clusters "${residual_nclusters}" --portion "${portion}" \
            --ngpu "${gpus}" "${kmeans_opts[@]}" "${replacing[@]}"
    done
    run_steps
    for lang in ${langs}; do
        for dset in "${train_set}" "${valid_set}"; do
            step "${lang}/units${km_suffix}_${dset}" --in "${dumpdir}/raw/${lang}/${dset}/wav.scp" \
                --in "${expdir}/${lang}/units${km_suffix}" \
                --out "${dumpdir}/units${km_suffix}/${lang}/${dset}/text.${src_case}.units" \
                --launch --cpus "${processes}" --gpus "${gpus}" -- \
                "${python}" -m espnet_ext.bin.dump_units --input "${dumpdir}/raw/${lang}/${dset}" \
                --units "${expdir}/${lang}/units${km_suffix}" --output "${dumpdir}/units${km_suffix}/${lang}/${dset}" \
                --repeats "${unit_repeats}" --ngpu "${gpus}" --nj "${processes}" "${replacing[@]}"
        done
    done
    run_steps
    collect_unit_inputs
}

collect_unit_inputs() { # of the training and the validation set
    local lang units text_files file joint folder folders inputs text_options symbols output
    for lang in ${langs}; do
        units=${dumpdir}/units${km_suffix}/${lang}/${train_set}/text.${src_case}.units
        text_files=("${dumpdir}/raw/${lang}/${train_set}/text.${text_source_of[${lang}]}")
        for folder in ${text_data_of[${lang}]}; do
            text_files+=("${folder}/text.${text_source_of[${lang}]}")
        done
        inputs=(--in "${units}")
        for file in "${text_files[@]}"; do inputs+=(--in "${file}"); done
        joint=${datadir}/${lang}_joint_tokens${input_suffix}
        symbols=() # guiding tokens of the outputs
        if [[ ${input_guides} == true ]]; then
            for output in ${outputs_of[${lang}]}; do symbols+=("<to:${output}>"); done
        fi
        step "${lang}/joint_tokens${input_suffix}" "${inputs[@]}" --out "${joint}/tokens.txt" \
            --out "${joint}/vocabulary.json" -- \
            "${python}" -m espnet_ext.bin.unit_tokens --unit_text "${units}" --text "${text_files[@]}" \
            --token_dir "${joint}" --unit_token_type "${src_token_type}" \
            --unit_vocab_size "${src_nbpe}" --text_token_type "${text_type_of[${lang}]}" \
            --text_vocab_size "${text_nbpe}" --bpemode "${bpemode}" \
            ${symbols[0]:+--symbols "${symbols[*]}"} "${replacing[@]}"
    done
    run_steps "${nj}"
    for lang in ${langs}; do
        joint=${datadir}/${lang}_joint_tokens${input_suffix}
        if [[ -n ${embedding_model} ]]; then
            step "${lang}/unit_embeddings${input_suffix}" --in "${joint}" "${embedding_inputs[@]}" \
                --out "${expdir}/${lang}/unit_embeddings${input_suffix}.pth" -- \
                "${python}" -m espnet_ext.bin.unit_embeddings --joint_token_dir "${joint}" \
                --model "${embedding_model}" \
                --output "${expdir}/${lang}/unit_embeddings${input_suffix}.pth" "${replacing[@]}"
        fi
        for dset in "${train_set}" "${valid_set}"; do
            text_options=() inputs=()
            if [[ -n ${text_input} && ${dset} == "${train_set}" ]]; then
                text_options=(--text_input "${text_input}" --upsample "${upsample}")
                read -ra folders <<<"${text_data_of[${lang}]}"
                if ((${#folders[@]})); then text_options+=(--text_data "${folders[@]}"); fi
                for folder in "${folders[@]}"; do inputs+=(--in "${folder}"); done
            fi
            step "${lang}/unit_inputs${input_suffix}_${dset}" --in "${dumpdir}/raw/${lang}/${dset}" \
                --in "${dumpdir}/units${km_suffix}/${lang}/${dset}" --in "${joint}" "${inputs[@]}" \
                --out "${dumpdir}/raw/${lang}/${dset}_units${input_suffix}/input_ids" -- \
                "${python}" -m espnet_ext.bin.unit_inputs --input "${dumpdir}/raw/${lang}/${dset}" \
                --units_dir "${dumpdir}/units${km_suffix}/${lang}/${dset}" --joint_token_dir "${joint}" \
                --output "${dumpdir}/raw/${lang}/${dset}_units${input_suffix}" \
                --outputs "${outputs_of[${lang}]}" --max_length "${max_input_length}" \
                "${text_options[@]}" "${replacing[@]}"
        done
    done
    run_steps "${nj}"
}
