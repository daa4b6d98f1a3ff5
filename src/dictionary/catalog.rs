//! The parameters of every kind of dictionary: their types, their checks, and their fields for suites.

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::file::FileParams;
use super::ica::IcaParams;
use super::kind::{Kind, for_kinds};
use super::path::DictionaryPath;
use super::pca::PcaParams;
use super::sae::{GatedParams, JumpreluParams, SaeParams, TopkParams};
use super::simple::{IdentityParams, NeuronParams, RandomParams};
use super::{DictionaryFit, ParamProblem, Variant};

/// Parameters of a kind as a suite gives them, unchecked.
pub trait Params {
    /// Returns the checked fit, or all problems. `kind` distinguishes kinds that share parameters.
    fn check(&self, kind: Kind) -> Result<Box<dyn DictionaryFit>, Vec<ParamProblem>>;

    /// Requested variants; empty for kinds without variants.
    fn variants(&self) -> &[Variant] {
        &[]
    }

    /// Name of the method whose L0 the `topk` variant matches.
    fn matched(&self) -> Option<&str> {
        None
    }

    /// The path of a dictionary that is read and not fitted.
    fn path(&self) -> Option<&Path> {
        None
    }
}

macro_rules! declare_params {
    ($($(#[doc = $words:literal])+ $kind:ident: $params:ident, $name:literal, draws: $draws:literal, sparse: $sparse:literal;)+) => {
        impl Kind {
            /// Its fields as a JSON Schema: what each means, its type, range and default.
            pub fn fields(self) -> Value {
                match self { $(Self::$kind => schema_of::<$params>()),+ }
            }
        }

        /// Unchecked parameters of every kind.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        pub enum MethodParams {
            $($(#[doc = $words])+ #[serde(rename = $name)] $kind($params),)+
        }

        impl MethodParams {
            /// Reads the fields of a known kind.
            pub fn of_kind<'de, D: Deserializer<'de>>(kind: Kind, fields: D) -> Result<Self, D::Error> {
                Ok(match kind { $(Kind::$kind => Self::$kind(<$params>::deserialize(fields)?)),+ })
            }

            /// The kind.
            pub fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind),+ }
            }

            fn params(&self) -> &dyn Params {
                match self { $(Self::$kind(params) => params),+ }
            }
        }
    };
}

for_kinds!(declare_params);

impl MethodParams {
    /// Returns the checked fit, or all problems.
    pub fn check(&self) -> Result<Box<dyn DictionaryFit>, Vec<ParamProblem>> {
        self.params().check(self.kind())
    }

    /// The method to whose L0 a `topk` variant is matched, if there is one.
    pub fn matched(&self) -> Option<&str> {
        self.params().matched()
    }

    /// The place of a dictionary trained elsewhere; none for methods that are fitted here.
    pub fn path(&self) -> Option<Result<DictionaryPath, String>> {
        Some(DictionaryPath::parse(&self.params().path()?.to_string_lossy()))
    }

    /// Whether a load proof is wanted; only of dictionaries trained elsewhere.
    pub fn wants_proof(&self) -> bool {
        matches!(self, Self::File(file) if file.load_proof)
    }

    /// The same parameters with another path. Parameters without a path stay as they are.
    pub fn with_path(&self, path: &Path) -> Self {
        let mut params = self.clone();
        if let Self::File(file) = &mut params {
            let written = std::mem::replace(&mut file.path, path.to_path_buf());
            file.written = Some(written.display().to_string());
        }
        params
    }

    /// The variants asked for; none for kinds that have none.
    pub fn variants(&self) -> &[Variant] {
        self.params().variants()
    }
}

/// Kinds with the same fields.
#[derive(Debug, Clone)]
pub struct KindFields {
    /// The kinds.
    pub kinds: Vec<Kind>,
    /// JSON Schema of the fields, self-contained.
    pub schema: Value,
}

/// The fields of every kind.
pub fn kind_fields() -> Vec<KindFields> {
    let mut all: Vec<KindFields> = Vec::new();
    for &kind in Kind::ALL {
        let schema = kind.fields();
        match all.last_mut().filter(|last| last.schema == schema) {
            Some(last) => last.kinds.push(kind),
            None => all.push(KindFields { kinds: vec![kind], schema }),
        }
    }
    all
}

fn schema_of<P: schemars::JsonSchema>() -> Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    let settings = settings.with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<P>().into()
}

fn boxed<F: DictionaryFit + 'static>(
    fit: Result<F, Vec<ParamProblem>>,
) -> Result<Box<dyn DictionaryFit>, Vec<ParamProblem>> {
    fit.map(|fit| Box::new(fit) as Box<dyn DictionaryFit>)
}

impl Params for SaeParams {
    fn check(&self, kind: Kind) -> Result<Box<dyn DictionaryFit>, Vec<ParamProblem>> {
        boxed(self.check(kind == Kind::Sae))
    }
}

impl Params for TopkParams {
    fn check(&self, kind: Kind) -> Result<Box<dyn DictionaryFit>, Vec<ParamProblem>> {
        boxed(self.check(kind))
    }
}

macro_rules! plain {
    ($($params:ty),+) => {
        $(impl Params for $params {
            fn check(&self, _: Kind) -> Result<Box<dyn DictionaryFit>, Vec<ParamProblem>> {
                boxed(self.check())
            }
        })+
    };
}

plain!(GatedParams, JumpreluParams, NeuronParams, RandomParams, IdentityParams);

impl Params for FileParams {
    fn check(&self, _: Kind) -> Result<Box<dyn DictionaryFit>, Vec<ParamProblem>> {
        boxed(self.check())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }
}

macro_rules! with_variants {
    ($($params:ty),+) => {
        $(impl Params for $params {
            fn check(&self, _: Kind) -> Result<Box<dyn DictionaryFit>, Vec<ParamProblem>> {
                boxed(self.check())
            }

            fn variants(&self) -> &[Variant] {
                &self.variants
            }

            fn matched(&self) -> Option<&str> {
                self.matched.as_deref()
            }
        })+
    };
}

with_variants!(PcaParams, IcaParams);
