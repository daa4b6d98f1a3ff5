//! Dictionaries that no affine map of single rows can compute: named, and refused.

use super::folder::{SAFETENSORS, TORCH, is_weights};
use super::{DictionaryError, FileFormat, Folder, Row};

const TEMPORAL_CONFIG: &str = "conf.yaml";
const TEMPORAL_FILE: &str = "latest_ckpt.safetensors";

/// Cross-layer transcoders of mntss and others: `W_enc_N.safetensors` with `W_dec_N` `[F, layers written, d]`.
pub(super) const MNTSS: Row = Row {
    format: FileFormat::Mntss,
    words: "cross-layer transcoders of mntss (refused)",
    recognised_by: "`W_enc_N.safetensors` or `W_dec_N.safetensors`",
    recognises: |folder| folder.ending(SAFETENSORS).into_iter().any(is_cross_layer),
    read: |folder, _| {
        let problem = "a cross-layer transcoder: each feature writes to its own and all later layers, so the output of a \
                       layer takes features of all earlier ones. Not supported; expected a dictionary of one hook point";
        Err(DictionaryError::unusable(folder.path(), problem))
    },
};

/// Temporal autoencoders (canrager/temporalSAEs).
pub(super) const TEMPORAL: Row = Row {
    format: FileFormat::Temporal,
    words: "temporal autoencoders (refused)",
    recognised_by: "`conf.yaml` and `latest_ckpt.safetensors` with D and attn_layers",
    recognises: |folder| {
        let file = folder.has(TEMPORAL_FILE).then(|| folder.tensors(TEMPORAL_FILE).ok()).flatten();
        let has_attention =
            file.is_some_and(|file| file.names().any(|name| name.starts_with("attn_layers.")));
        has_attention || (folder.has(TEMPORAL_CONFIG) && folder.has(TEMPORAL_FILE))
    },
    read: |folder, _| {
        let problem = "a temporal autoencoder: a token's codes depend on the tokens before it, by attention over codes. \
                       Not supported; expected a dictionary of single rows";
        Err(DictionaryError::unusable(folder.path(), problem))
    },
};

fn is_cross_layer(name: &str) -> bool {
    let layer = name.strip_prefix("W_enc_").or(name.strip_prefix("W_dec_"));
    layer
        .and_then(|rest| rest.strip_suffix(".safetensors"))
        .is_some_and(|layer| layer.parse::<usize>().is_ok())
}

/// Tensors of dictionary_learning's classes. Torch files hold nothing else that tells the class.
const CLASSES: [(&str, &[&str]); 6] = [
    ("AutoEncoder", &["bias", "decoder.weight", "encoder.bias", "encoder.weight"]),
    ("AutoEncoderNew", &["decoder.bias", "decoder.weight", "encoder.bias", "encoder.weight"]),
    (
        "GatedAutoEncoder",
        &["decoder.weight", "decoder_bias", "encoder.weight", "gate_bias", "mag_bias", "r_mag"],
    ),
    ("AutoEncoderTopK or BatchTopKSAE", &["b_dec", "decoder.weight", "encoder.bias", "encoder.weight"]),
    ("JumpReluAutoEncoder", &["W_dec", "W_enc", "b_dec", "b_enc", "threshold"]),
    ("MatryoshkaBatchTopKSAE", &["W_dec", "W_enc", "b_dec", "b_enc", "group_sizes"]),
];

/// What a folder holds that no format recognises, in words, with what to do.
pub(super) fn hint(folder: &Folder) -> Option<String> {
    if folder.own().any(|name| name.ends_with(".distcp")) {
        return Some(
            "It is a torch distributed checkpoint, which is not supported: save it on one device as safetensors".into(),
        );
    }
    let files = folder.own().filter(|name| is_weights(name)).take(8);
    files.filter_map(|name| file_hint(folder, name)).next()
}

fn file_hint(folder: &Folder, name: &str) -> Option<String> {
    let file = match folder.tensors(name) {
        Ok(file) => file,
        Err(error) => return Some(format!("`{name}` cannot be read: {error}")),
    };
    let several = file.names().find(|tensor| {
        let is_map = ["enc", "dec", "W_E", "W_D"].iter().any(|part| tensor.contains(part));
        is_map && file.shape(tensor).is_some_and(|shape| shape.len() == 3)
    });
    if let Some(tensor) = several {
        return Some(format!(
            "`{name}` holds `{tensor}` with three dimensions: a crosscoder or cross-layer transcoder, which is not \
             supported"
        ));
    }
    // k and threshold are settings that some classes store as tensors.
    let optional = |tensor: &&str| !["k", "threshold"].contains(tensor);
    let mut tensors: Vec<&str> = file.names().filter(optional).collect();
    tensors.sort_unstable();
    let whole: Vec<&str> = file.names().collect();
    let is_class = |names: &[&str]| {
        names.iter().all(|name| whole.contains(name)) && tensors.iter().all(|tensor| names.contains(tensor))
    };
    let (class, _) = CLASSES.iter().find(|(_, names)| is_class(names))?;
    let is_torch = TORCH.iter().any(|ending| name.ends_with(ending));
    is_torch.then(|| {
        format!(
            "`{name}` holds the tensors of dictionary_learning's {class}; its `config.json` is missing. Put it there, or \
             say `format: dictionary_learning`"
        )
    })
}
