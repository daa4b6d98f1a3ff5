//! Values that a pickle of a torch file makes.

use super::element::Element;

/// Number of a value among those of a pickle.
pub type Id = usize;

/// A value. Containers hold numbers of values, so values may be shared and contain themselves.
#[derive(Debug, Clone)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage),
    Tensor(Box<StoredTensor>),
}

/// A name that a pickle may import.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Global {
    /// `collections.OrderedDict`, called without arguments.
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2`: storage, offset, shape, strides, requires_grad, hooks.
    Tensor,
    /// `torch._utils._rebuild_tensor_v3`: the same and the number type.
    TypedTensor,
    /// `torch._utils._rebuild_parameter`: tensor, requires_grad, hooks.
    Parameter,
    /// `torch.FloatStorage` and the like; None for bytes without a type.
    Storage(Option<Element>),
    /// `torch.float32` and the like, by name.
    Dtype(&'static str, Element),
    /// `torch.Size`
    Size,
    /// `torch.device`
    Device,
}

/// Bytes that tensors share, in an entry of the archive.
#[derive(Debug, Clone, Copy)]
pub struct Storage {
    /// Number type; None where the tensor states it.
    pub element: Option<Element>,
    /// Name of the entry below `data/`, a text.
    pub key: Id,
    /// Elements, or bytes where there is no number type.
    pub length: usize,
}

/// A tensor as a pickle describes it.
#[derive(Debug, Clone)]
pub struct StoredTensor {
    pub storage: Storage,
    pub element: Element,
    /// First element in the storage.
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

impl Global {
    /// The name in messages.
    pub fn name(self) -> String {
        match self {
            Self::OrderedDict => "`collections.OrderedDict`".to_string(),
            Self::Tensor => "`torch._utils._rebuild_tensor_v2`".to_string(),
            Self::TypedTensor => "`torch._utils._rebuild_tensor_v3`".to_string(),
            Self::Parameter => "`torch._utils._rebuild_parameter`".to_string(),
            Self::Storage(_) => "a storage".to_string(),
            Self::Dtype(name, _) => format!("`torch.{name}`"),
            Self::Size => "`torch.Size`".to_string(),
            Self::Device => "`torch.device`".to_string(),
        }
    }
}
