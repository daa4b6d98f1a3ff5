//! Hook points: named activations of a model, spelled as in TransformerLens.

use std::fmt;
use std::str::FromStr;

use strum::EnumMessage;

/// Place in a block. Activations have width `d_model`; `AttnZ` has `n_heads · d_head`, `MlpPost` has `d_mlp`.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    strum::IntoStaticStr,
    strum::EnumString,
    strum::EnumMessage,
)]
pub enum Site {
    /// Residual stream entering the block.
    #[strum(serialize = "hook_resid_pre")]
    ResidPre,
    /// Residual stream between attention and MLP; absent in models that run both in parallel.
    #[strum(serialize = "hook_resid_mid")]
    ResidMid,
    /// Residual stream leaving the block.
    #[strum(serialize = "hook_resid_post")]
    ResidPost,
    /// Output of attention, which is added to the residual stream.
    #[strum(serialize = "hook_attn_out")]
    AttnOut,
    /// Outputs of the attention heads, concatenated, before the output projection.
    #[strum(serialize = "attn.hook_z")]
    AttnZ,
    /// Input of the MLP: the normed residual stream. Transcoders read it.
    #[strum(serialize = "mlp.hook_in")]
    MlpIn,
    /// Output of the MLP, which is added to the residual stream.
    #[strum(serialize = "hook_mlp_out")]
    MlpOut,
    /// MLP neurons: the input of the down projection.
    #[strum(serialize = "mlp.hook_post")]
    MlpPost,
}

impl Site {
    /// All sites, in the order in which a block computes them.
    pub const ALL: [Self; 8] = [
        Self::ResidPre,
        Self::AttnZ,
        Self::AttnOut,
        Self::ResidMid,
        Self::MlpIn,
        Self::MlpPost,
        Self::MlpOut,
        Self::ResidPost,
    ];

    /// The name within a block, as in TransformerLens.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What the activation is.
    pub fn words(self) -> &'static str {
        self.get_documentation().unwrap_or_default()
    }
}

/// A named activation of the subject model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HookPoint {
    /// Token embedding, `hook_embed`.
    Embed,
    /// `blocks.LAYER.SITE`.
    Block {
        /// Index of the block, from 0.
        layer: usize,
        /// Place in the block.
        site: Site,
    },
}

impl HookPoint {
    /// Sort key of the order in which a model computes hook points: block, counted from 1 behind the embedding, and site.
    pub fn computed(self) -> (usize, usize) {
        match self {
            Self::Embed => (0, 0),
            Self::Block { layer, site } => {
                (layer + 1, Site::ALL.iter().position(|other| *other == site).unwrap_or(Site::ALL.len()))
            }
        }
    }
}

#[cfg(test)]
impl HookPoint {
    /// Index of the block; none for the embedding.
    pub fn layer(self) -> Option<usize> {
        match self {
            Self::Embed => None,
            Self::Block { layer, .. } => Some(layer),
        }
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embed => f.write_str("hook_embed"),
            Self::Block { layer, site } => write!(f, "blocks.{layer}.{}", site.name()),
        }
    }
}

/// A text that is not a hook point.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown hook point `{0}`: expected `hook_embed` or `blocks.LAYER.SITE`, where LAYER is a number \
     (in a suite also `*` or `{{0,2}}`) and SITE one of hook_resid_pre, hook_resid_mid, hook_resid_post, \
     hook_attn_out, attn.hook_z, mlp.hook_in, mlp.hook_post, hook_mlp_out"
)]
pub struct HookPointError(pub String);

impl FromStr for HookPoint {
    type Err = HookPointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<HookSelector>()? {
            HookSelector::Embed => Ok(Self::Embed),
            HookSelector::Layers { layers, site } if layers.len() == 1 && !text.contains('{') => {
                Ok(Self::Block { layer: layers[0], site })
            }
            _ => Err(HookPointError(text.to_string())),
        }
    }
}

impl serde::Serialize for HookPoint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for HookPoint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Hook points as written in a suite: one, every layer (`*`) or some layers (`{0,2}`).
///
/// ```
/// use autointerp::base::HookSelector;
///
/// let some: HookSelector = "blocks.{0,2}.hook_resid_post".parse()?;
/// let names: Vec<String> = some.expand(3).expect("three layers").iter().map(ToString::to_string).collect();
/// assert_eq!(names, ["blocks.0.hook_resid_post", "blocks.2.hook_resid_post"]);
/// assert_eq!(some.expand(2), Err(2), "a model of two blocks has no layer 2");
/// # Ok::<(), autointerp::base::HookPointError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookSelector {
    /// `hook_embed`.
    Embed,
    /// `blocks.*.SITE`.
    EveryLayer(Site),
    /// `blocks.3.SITE` or `blocks.{0,2}.SITE`.
    Layers {
        /// The layers named, in the order written.
        layers: Vec<usize>,
        /// The site in each.
        site: Site,
    },
}

impl HookSelector {
    /// The hook points in a model of `n_layers` blocks; `Err` is the first layer that does not exist.
    pub fn expand(&self, n_layers: usize) -> Result<Vec<HookPoint>, usize> {
        let (layers, site) = match self {
            Self::Embed => return Ok(vec![HookPoint::Embed]),
            Self::EveryLayer(site) => ((0..n_layers).collect(), *site),
            Self::Layers { layers, site } => (layers.clone(), *site),
        };
        if let Some(&missing) = layers.iter().find(|&&layer| layer >= n_layers) {
            return Err(missing);
        }
        Ok(layers.into_iter().map(|layer| HookPoint::Block { layer, site }).collect())
    }
}

impl FromStr for HookSelector {
    type Err = HookPointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || HookPointError(text.to_string());
        if text == "hook_embed" {
            return Ok(Self::Embed);
        }
        let rest = text.strip_prefix("blocks.").ok_or_else(unknown)?;
        let (layer, site) = rest.split_once('.').ok_or_else(unknown)?;
        let site = site.parse().map_err(|_| unknown())?;
        if layer == "*" {
            return Ok(Self::EveryLayer(site));
        }
        let list = layer.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(layer);
        let layers: Result<Vec<usize>, _> = list.split(',').map(|number| number.trim().parse()).collect();
        Ok(Self::Layers { layers: layers.map_err(|_| unknown())?, site })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelled_both_ways() {
        for text in
            ["hook_embed", "blocks.0.hook_resid_pre", "blocks.11.attn.hook_z", "blocks.3.mlp.hook_post"]
        {
            assert_eq!(text.parse::<HookPoint>().map(|hook| hook.to_string()), Ok(text.to_string()));
        }
        for text in ["", "blocks.x.hook_resid_pre", "blocks.1.hook_q", "blocks.*.hook_resid_post", "embed"] {
            assert!(text.parse::<HookPoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn hook_points_sort_as_they_are_computed() {
        let names = [
            "hook_embed",
            "blocks.0.hook_resid_pre",
            "blocks.0.hook_attn_out",
            "blocks.0.mlp.hook_in",
            "blocks.0.hook_resid_post",
            "blocks.1.attn.hook_z",
            "blocks.1.hook_mlp_out",
        ];
        let keys = names.map(|name| name.parse::<HookPoint>().expect("valid").computed());
        assert!(keys.is_sorted() && keys.windows(2).all(|pair| pair[0] != pair[1]), "{keys:?}");
    }

    #[test]
    fn selectors_expand_or_name_the_missing_layer() {
        let some: HookSelector = "blocks.{0,2}.hook_mlp_out".parse().expect("valid");
        assert_eq!(some.expand(3).map(|hooks| hooks.len()), Ok(2));
        assert_eq!(some.expand(2), Err(2));
        let all: HookSelector = "blocks.*.hook_resid_post".parse().expect("valid");
        assert_eq!(all.expand(4).map(|hooks| hooks.len()), Ok(4));
    }
}
