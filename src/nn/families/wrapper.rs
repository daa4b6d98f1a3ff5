//! Language models inside multimodal ones: given text alone, these compute what the language model computes.

use serde_json::{Map, Value, json};

use super::{Config, Family, NnError};

/// Model types that hold a language model under `text_config`, beside parts for images.
const WRAPPERS: [&str; 4] = ["gemma3", "llava", "llava_next", "mistral3"];

/// Fields beside `text_config`, all about images.
const OF_IMAGES: &str = "boi_token_index eoi_token_index ignore_index image_grid_pinpoints image_seq_length image_token_id \
    image_token_index mm_tokens_per_image multimodal_projector_bias projector_hidden_act \
    projector_hidden_size projector_layernorm spatial_merge_size use_image_newline_parameter \
    vision_config vision_feature_layer vision_feature_select_strategy vocab_size initializer_range";

/// The configuration of the language model inside a multimodal one, or none if `config` is a language model's own.
/// Such files leave out fields with default values, so the family's defaults are filled in.
pub(super) fn language_model(config: &Config) -> Result<Option<Config>, NnError> {
    let model_type = config.text_or("model_type", "")?;
    if !WRAPPERS.contains(&model_type) {
        return Ok(None);
    }
    let Some(inner) = config.section("text_config")? else {
        return Err(config.wrong("text_config", "the configuration of the language model"));
    };
    config.without_effect(&OF_IMAGES.split(' ').collect::<Vec<_>>());
    let by_default = if model_type == "gemma3" { Family::Gemma3 } else { Family::Llama };
    let mut defaults = Map::from_iter([("model_type".to_string(), by_default.model_type().into())]);
    let family = inner.text_or("model_type", by_default.model_type())?;
    let of_family = match Family::ALL.iter().find(|known| known.model_type() == family) {
        Some(Family::Gemma3) => json!({
            "vocab_size": 262_208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
            "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
            "max_position_embeddings": 131_072,
        }),
        Some(Family::Llama) => json!({
            "vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32,
            "num_attention_heads": 32, "max_position_embeddings": 2048,
        }),
        Some(Family::Mistral) => json!({
            "vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131_072,
        }),
        _ => json!({}),
    };
    if let Value::Object(of_family) = of_family {
        defaults.extend(of_family);
    }
    // `tie_word_embeddings` may be inside the section, outside or missing.
    if let Some(tied) = config.fields().get("tie_word_embeddings").filter(|tied| !tied.is_null()) {
        config.without_effect(&["tie_word_embeddings"]);
        if inner.has("tie_word_embeddings") && inner.fields().get("tie_word_embeddings") != Some(tied) {
            return Err(inner.wrong("tie_word_embeddings", &format!("{tied}, as outside the section")));
        }
        defaults.insert("tie_word_embeddings".into(), tied.clone());
    }
    Ok(Some(inner.with_defaults(defaults)))
}
