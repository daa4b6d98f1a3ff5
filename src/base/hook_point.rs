use std::fmt;
use std::str::FromStr;

/// Where in a block an activation is taken. Widths: `d_model`, except `AttnZ`
/// (`n_heads · d_head`) and `MlpPost` (`d_mlp`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// Residual stream entering the block.
    ResidPre,
    /// Residual stream between attention and MLP; absent where the two run in parallel.
    ResidMid,
    /// Residual stream leaving the block.
    ResidPost,
    /// What attention adds to the stream.
    AttnOut,
    /// Attention heads' outputs, concatenated, before the output projection.
    AttnZ,
    /// What the MLP adds to the stream.
    MlpOut,
    /// MLP neurons: the input of the down projection.
    MlpPost,
}

impl Site {
    /// Every site, in the order a block computes them.
    pub const ALL: [Self; 7] = [
        Self::ResidPre,
        Self::AttnZ,
        Self::AttnOut,
        Self::ResidMid,
        Self::MlpPost,
        Self::MlpOut,
        Self::ResidPost,
    ];

    /// The name within a block, spelled as TransformerLens does.
    pub fn name(self) -> &'static str {
        match self {
            Self::ResidPre => "hook_resid_pre",
            Self::ResidMid => "hook_resid_mid",
            Self::ResidPost => "hook_resid_post",
            Self::AttnOut => "hook_attn_out",
            Self::AttnZ => "attn.hook_z",
            Self::MlpOut => "hook_mlp_out",
            Self::MlpPost => "mlp.hook_post",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|site| site.name() == text)
    }
}

/// A named activation of the subject model, spelled as TransformerLens does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HookPoint {
    /// Token embedding, `hook_embed`.
    Embed,
    /// `blocks.LAYER.SITE`.
    Block {
        /// Block number, from 0.
        layer: usize,
        /// Where in the block.
        site: Site,
    },
}

impl HookPoint {
    /// The block it belongs to; none for the embedding.
    pub fn layer(self) -> Option<usize> {
        match self {
            Self::Embed => None,
            Self::Block { layer, .. } => Some(layer),
        }
    }

    /// The name with path separators and dots made safe for a file name.
    pub fn file_name(self) -> String {
        self.to_string()
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

/// Text that names no hook point.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown hook point `{0}`: expected `hook_embed` or `blocks.LAYER.SITE`, where LAYER is a number \
     (in a suite also `*` or `{{0,2}}`) and SITE one of hook_resid_pre, hook_resid_mid, hook_resid_post, \
     hook_attn_out, attn.hook_z, hook_mlp_out, mlp.hook_post"
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

/// Hook points as a suite writes them: one, every layer (`*`) or some layers (`{0,2}`).
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
    /// The hook points meant in a model of `n_layers` blocks; `Err` names the first layer it lacks.
    pub fn expand(&self, n_layers: usize) -> Result<Vec<HookPoint>, usize> {
        match self {
            Self::Embed => Ok(vec![HookPoint::Embed]),
            Self::EveryLayer(site) => {
                Ok((0..n_layers).map(|layer| HookPoint::Block { layer, site: *site }).collect())
            }
            Self::Layers { layers, site } => {
                layers
                    .iter()
                    .map(|&layer| {
                        if layer < n_layers {
                            Ok(HookPoint::Block { layer, site: *site })
                        } else {
                            Err(layer)
                        }
                    })
                    .collect()
            }
        }
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
        let site = Site::parse(site).ok_or_else(unknown)?;
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
    fn selectors_expand_or_name_the_missing_layer() {
        let some: HookSelector = "blocks.{0,2}.hook_mlp_out".parse().expect("valid");
        assert_eq!(some.expand(3).map(|hooks| hooks.len()), Ok(2));
        assert_eq!(some.expand(2), Err(2));
        let all: HookSelector = "blocks.*.hook_resid_post".parse().expect("valid");
        assert_eq!(all.expand(4).map(|hooks| hooks.len()), Ok(4));
    }
}
