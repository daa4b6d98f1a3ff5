use serde::{Deserialize, Deserializer, Serialize};

use super::file::{FileFit, FileParams};
use super::ica::{IcaFit, IcaParams};
use super::pca::{PcaFit, PcaParams};
use super::sae::{AutoencoderFit, GatedParams, JumpreluParams, SaeParams, TopkParams};
use super::simple::{IdentityFit, IdentityParams, NeuronFit, NeuronParams, RandomFit, RandomParams};
use super::{DictionaryFit, Kind, ParamProblem, Variant};

/// Unchecked parameters of every kind. This file is the one place to register a kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MethodParams {
    /// Tied ReLU-L1 autoencoder.
    Sae(SaeParams),
    /// Untied ReLU-L1 autoencoder.
    SaeUntied(SaeParams),
    /// TopK autoencoder.
    Topk(TopkParams),
    /// Autoencoder that keeps the largest codes of a batch.
    BatchTopk(TopkParams),
    /// The same, nested.
    Matryoshka(TopkParams),
    /// Autoencoder with gates.
    Gated(GatedParams),
    /// Autoencoder with learned thresholds.
    Jumprelu(JumpreluParams),
    /// Default basis through ReLU.
    Neuron(NeuronParams),
    /// Gaussian directions through ReLU.
    Random(RandomParams),
    /// Signed default basis.
    Identity(IdentityParams),
    /// Principal components.
    Pca(PcaParams),
    /// Independent components.
    Ica(IcaParams),
    /// Trained elsewhere.
    File(FileParams),
}

/// The fields of some kinds as a JSON Schema: what each means, its type and its default.
#[derive(Debug, Clone)]
pub struct KindFields {
    /// The kinds that take them.
    pub kinds: &'static [Kind],
    /// Schema of the parameters, self-contained.
    pub schema: serde_json::Value,
}

impl KindFields {
    fn of<P: schemars::JsonSchema>(kinds: &'static [Kind]) -> Self {
        let settings = schemars::generate::SchemaSettings::default().with(|settings| {
            settings.inline_subschemas = true;
        });
        Self { kinds, schema: settings.into_generator().into_root_schema_for::<P>().into() }
    }
}

/// The fields of every kind.
pub fn kind_fields() -> Vec<KindFields> {
    vec![
        KindFields::of::<SaeParams>(&[Kind::Sae, Kind::SaeUntied]),
        KindFields::of::<TopkParams>(&[Kind::Topk, Kind::BatchTopk, Kind::Matryoshka]),
        KindFields::of::<GatedParams>(&[Kind::Gated]),
        KindFields::of::<JumpreluParams>(&[Kind::Jumprelu]),
        KindFields::of::<NeuronParams>(&[Kind::Neuron]),
        KindFields::of::<RandomParams>(&[Kind::Random]),
        KindFields::of::<IdentityParams>(&[Kind::Identity]),
        KindFields::of::<PcaParams>(&[Kind::Pca]),
        KindFields::of::<IcaParams>(&[Kind::Ica]),
        KindFields::of::<FileParams>(&[Kind::File]),
    ]
}

/// Checked parameters: what can be fitted.
#[derive(Debug)]
pub enum CheckedMethod {
    /// One fit gives one dictionary.
    Single(Box<dyn DictionaryFit>),
    /// The same, by training steps: several can take them on the same batches.
    Autoencoder(AutoencoderFit),
    /// One fit gives several variants.
    Pca(PcaFit),
    /// One fit gives several variants.
    Ica(IcaFit),
}

impl std::fmt::Debug for dyn DictionaryFit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DictionaryFit({})", self.kind())
    }
}

impl MethodParams {
    /// Reads the fields of a kind whose name was read before, so that a message about a field can
    /// still point at its place.
    pub fn of_kind<'de, D: Deserializer<'de>>(kind: Kind, fields: D) -> Result<Self, D::Error> {
        Ok(match kind {
            Kind::Sae => Self::Sae(SaeParams::deserialize(fields)?),
            Kind::SaeUntied => Self::SaeUntied(SaeParams::deserialize(fields)?),
            Kind::Topk => Self::Topk(TopkParams::deserialize(fields)?),
            Kind::BatchTopk => Self::BatchTopk(TopkParams::deserialize(fields)?),
            Kind::Matryoshka => Self::Matryoshka(TopkParams::deserialize(fields)?),
            Kind::Gated => Self::Gated(GatedParams::deserialize(fields)?),
            Kind::Jumprelu => Self::Jumprelu(JumpreluParams::deserialize(fields)?),
            Kind::Neuron => Self::Neuron(NeuronParams::deserialize(fields)?),
            Kind::Random => Self::Random(RandomParams::deserialize(fields)?),
            Kind::Identity => Self::Identity(IdentityParams::deserialize(fields)?),
            Kind::Pca => Self::Pca(PcaParams::deserialize(fields)?),
            Kind::Ica => Self::Ica(IcaParams::deserialize(fields)?),
            Kind::File => Self::File(FileParams::deserialize(fields)?),
        })
    }

    /// The kind these parameters belong to.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Sae(_) => Kind::Sae,
            Self::SaeUntied(_) => Kind::SaeUntied,
            Self::Topk(_) => Kind::Topk,
            Self::BatchTopk(_) => Kind::BatchTopk,
            Self::Matryoshka(_) => Kind::Matryoshka,
            Self::Gated(_) => Kind::Gated,
            Self::Jumprelu(_) => Kind::Jumprelu,
            Self::Neuron(_) => Kind::Neuron,
            Self::Random(_) => Kind::Random,
            Self::Identity(_) => Kind::Identity,
            Self::Pca(_) => Kind::Pca,
            Self::Ica(_) => Kind::Ica,
            Self::File(_) => Kind::File,
        }
    }

    /// The method to whose L0 a `topk` variant is matched, where there is one.
    pub fn matched(&self) -> Option<&str> {
        match self {
            Self::Pca(params) => params.matched.as_deref(),
            Self::Ica(params) => params.matched.as_deref(),
            _ => None,
        }
    }

    /// The variants asked for; none for kinds that have none.
    pub fn variants(&self) -> &[Variant] {
        match self {
            Self::Pca(params) => &params.variants,
            Self::Ica(params) => &params.variants,
            _ => &[],
        }
    }

    /// What can be fitted, or everything that is wrong with it.
    pub fn check(&self) -> Result<CheckedMethod, Vec<ParamProblem>> {
        fn single(fit: impl DictionaryFit + 'static) -> CheckedMethod {
            CheckedMethod::Single(Box::new(fit))
        }
        let trained = CheckedMethod::Autoencoder;
        match self {
            Self::Sae(params) => params.check(true).map(trained),
            Self::SaeUntied(params) => params.check(false).map(trained),
            Self::Topk(params) | Self::BatchTopk(params) | Self::Matryoshka(params) => {
                params.check(self.kind()).map(trained)
            }
            Self::Gated(params) => params.check().map(trained),
            Self::Jumprelu(params) => params.check().map(trained),
            Self::Neuron(params) => params.check().map(|fit: NeuronFit| single(fit)),
            Self::Random(params) => params.check().map(|fit: RandomFit| single(fit)),
            Self::Identity(params) => params.check().map(|fit: IdentityFit| single(fit)),
            Self::Pca(params) => params.check().map(CheckedMethod::Pca),
            Self::Ica(params) => params.check().map(CheckedMethod::Ica),
            Self::File(params) => params.check().map(|fit: FileFit| single(fit)),
        }
    }
}
