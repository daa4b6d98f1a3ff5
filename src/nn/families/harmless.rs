//! Fields of `config.json` that change no number of the forward pass, with the reason.
//!
//! Every other field is read by its family, declared by it to be without effect
//! ([`Config::without_effect`], [`Config::require_flag`]), or refused by name. A null counts as a missing field, as in
//! transformers.

use serde_json::Value;

use super::{Config, Family, NnError};

/// Reasons, each with the fields that are harmless for it whatever their values.
const HARMLESS: [(&str, &str); 10] = [
    (
        "metadata: who made the file, and with which program",
        "_commit_hash _name_or_path architectures auto_map base_model custom_pipelines \
         finetuning_task is_llama_config license model_name name_or_path tokenizer_class \
         transformers.js_config transformers_version unsloth_fixed unsloth_version",
    ),
    ("number format of the weights; each tensor states its own", "dtype torch_dtype use_bfloat16"),
    (
        "choices between implementations that differ in rounding only",
        "_attn_implementation _attn_implementation_autoset _attn_implementation_internal \
         _experts_implementation _flash_attn_2_enabled attention_softmax_in_fp32 \
         attn_implementation fused_bias_fc fused_dropout_add_ln fused_mlp masked_softmax_fusion \
         pretraining_tp reorder_and_upcast_attn scale_attention_softmax_in_fp32 slow_but_exact \
         use_flash_attention use_flash_attn use_parallel_experts",
    ),
    (
        "ids of special tokens; the tokenizer decides where they are put",
        "bos_token_id decoder_start_token_id eos_token_id forced_bos_token_id forced_eos_token_id \
         mask_token_id pad_token_id sep_token_id unk_token_id",
    ),
    (
        "settings of text generation",
        "bad_words_ids begin_suppress_tokens cache_implementation diversity_penalty do_sample \
         early_stopping encoder_no_repeat_ngram_size exponential_decay_length_penalty \
         length_penalty max_length max_new_tokens min_length no_repeat_ngram_size num_beam_groups \
         num_beams num_return_sequences prefix remove_invalid_values repetition_penalty \
         return_dict_in_generate suppress_tokens task_specific_params temperature top_k top_p \
         typical_p use_cache",
    ),
    (
        "choices of what is returned beside the logits",
        "output_attentions output_hidden_states output_past output_router_logits output_scores \
         return_dict torchscript",
    ),
    (
        "initialisation and regularisation, without effect at inference",
        "activation_dropout attention_dropout attention_probs_dropout_prob attn_pdrop dropout \
         embd_pdrop embed_dropout embedding_dropout emb_pdrop gradient_checkpointing \
         hidden_dropout hidden_dropout_prob init_device init_std initializer_factor \
         initializer_range layerdrop resid_dropout resid_pdrop residual_dropout rescale_layer \
         router_aux_loss_coef router_jitter_noise use_labels",
    ),
    (
        "classification heads, which a language model lacks",
        "_num_labels classifier_bias classifier_dropout id2label label2id num_labels problem_type \
         summary_activation summary_first_dropout summary_proj_to_labels summary_type \
         summary_use_proj",
    ),
    (
        "fields of every transformers configuration that decoders ignore",
        "chunk_size_feed_forward is_decoder tf_legacy_loss tie_encoder_decoder",
    ),
    (
        "repetitions of other fields, for other programs; the context length is read from the family's field",
        "max_sequence_length model_max_length n_ctx seq_length",
    ),
];

/// Fields that are harmless only at the value that switches them off.
const HARMLESS_AT: &str = "add_cross_attention=false alibi=false ff_factor=4 full_attn_mod=1 interpolate_factor=1 \
    is_encoder_decoder=false lm_head_bias=false mlp_bias=false num_nextn_predict_layers=0 \
    pruned_heads={} rope_interleaved=false use_mrope=false use_qk_norm=false use_sliding_window=false";

fn harmless_at() -> impl Iterator<Item = (&'static str, &'static str)> {
    HARMLESS_AT.split(' ').filter_map(|entry| entry.split_once('='))
}

/// Harmless fields inside sections of rotary parameters.
const HARMLESS_IN_ROPE: [&str; 1] = ["finetuned"];

/// Refuses fields that no code has read, unless they are known to be harmless.
pub(super) fn check(config: &Config, family: Family) -> Result<(), NnError> {
    let unknown: Vec<String> = config
        .unread()
        .into_iter()
        .filter(|(path, value)| !is_harmless(path, value))
        .map(|(path, value)| format!("field `{path}` ({})", shortened(&value.to_string())))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let (file, family) = (config.file().to_string(), family.to_string());
    Err(NnError::UnknownFields { file, fields: unknown.join(", "), family })
}

fn is_harmless(path: &str, value: &Value) -> bool {
    // The language model inside a multimodal one; the attention of MPT.
    let inside = ["text_config.", "attn_config."].into_iter().find_map(|section| path.strip_prefix(section));
    let path = inside.unwrap_or(path);
    let in_rope = path.rsplit_once('.').filter(|(section, _)| section.starts_with("rope_"));
    if let Some((_, field)) = in_rope {
        return HARMLESS_IN_ROPE.contains(&field);
    }
    let off = |off: &str| serde_json::from_str::<Value>(off).is_ok_and(|off| same(&off, value));
    HARMLESS.iter().any(|(_, fields)| fields.split(' ').any(|field| field == path))
        || harmless_at().any(|(field, at)| field == path && off(at))
}

/// Whether values are equal; 1 and 1.0 are.
fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().is_some_and(|a| Some(a) == b.as_f64())
}

/// At most forty characters of a value.
fn shortened(value: &str) -> String {
    const LENGTH: usize = 40;
    let mut short: String = value.chars().take(LENGTH).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_listed_once_with_a_reason() {
        let always = HARMLESS.iter().flat_map(|(_, fields)| fields.split(' '));
        let mut fields: Vec<&str> = always.chain(harmless_at().map(|(field, _)| field)).collect();
        let count = fields.len();
        fields.sort_unstable();
        fields.dedup();
        assert_eq!(fields.len(), count);
        assert!(HARMLESS.iter().all(|(reason, fields)| reason.len() > 10 && !fields.is_empty()));
        for (field, value) in harmless_at() {
            assert!(serde_json::from_str::<Value>(value).is_ok(), "{field}");
        }
    }

    #[test]
    fn a_field_that_is_off_is_harmless_and_switched_on_it_is_not() {
        let harmless = |path: &str, json: &str| is_harmless(path, &serde_json::from_str(json).expect("JSON"));
        assert!(harmless("full_attn_mod", "1.0") && !harmless("full_attn_mod", "2"));
        assert!(harmless("use_mrope", "false") && !harmless("use_mrope", "true"));
        assert!(harmless("torch_dtype", "\"bfloat16\"") && !harmless("quantization_config", "{\"bits\": 4}"));
        assert!(harmless("rope_scaling.finetuned", "true") && !harmless("rope_scaling.use_cache", "true"));
        assert!(!harmless("finetuned", "true") && !harmless("a_new_field", "0"));
    }
}
