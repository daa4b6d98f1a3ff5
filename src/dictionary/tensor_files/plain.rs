//! Entries of torch files that are no tensors.

/// An entry of a torch file that is no tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Plain {
    /// `None`
    None,
    /// A bool.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float, which may be NaN or infinite.
    Float(f64),
    /// A text, or the name of a number type: "torch.float32".
    Text(String),
    /// A list or tuple.
    List(Vec<Plain>),
    /// A dict, in the order of the file.
    Dict(Vec<(String, Plain)>),
}
