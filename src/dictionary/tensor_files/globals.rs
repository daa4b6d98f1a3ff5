//! The names that a torch file may use, and what each stands for.

use super::element::Element;
use super::names::shown;
use super::value::{Global, Id, Storage, StoredTensor, Value};

/// torch's names of number types: of storages, of types, other names of types.
const ELEMENTS: [(&str, &str, &str, Element); 15] = [
    ("DoubleStorage", "float64", "double", Element::F64),
    ("FloatStorage", "float32", "float", Element::F32),
    ("HalfStorage", "float16", "half", Element::F16),
    ("BFloat16Storage", "bfloat16", "", Element::BF16),
    ("", "float8_e4m3fn", "", Element::F8_E4M3),
    ("", "float8_e5m2", "", Element::F8_E5M2),
    ("LongStorage", "int64", "long", Element::I64),
    ("IntStorage", "int32", "int", Element::I32),
    ("ShortStorage", "int16", "short", Element::I16),
    ("CharStorage", "int8", "", Element::I8),
    ("", "uint64", "", Element::U64),
    ("", "uint32", "", Element::U32),
    ("", "uint16", "", Element::U16),
    ("ByteStorage", "uint8", "", Element::U8),
    ("BoolStorage", "bool", "", Element::Bool),
];

/// The meaning of a name. All names but these are refused.
pub fn global(module: &str, name: &str) -> Result<Global, String> {
    let known = match (module, name) {
        ("collections", "OrderedDict") => Some(Global::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2") => Some(Global::Tensor),
        ("torch._utils", "_rebuild_tensor_v3") => Some(Global::TypedTensor),
        ("torch._utils", "_rebuild_parameter") => Some(Global::Parameter),
        ("torch", "Size") => Some(Global::Size),
        ("torch", "device") => Some(Global::Device),
        ("torch.storage" | "torch", "UntypedStorage") => Some(Global::Storage(None)),
        ("torch" | "torch.cuda", name) if name.ends_with("Storage") => {
            let row = ELEMENTS.iter().find(|(storage, ..)| *storage == name);
            row.map(|(.., element)| Global::Storage(Some(*element)))
        }
        ("torch", name) if !name.is_empty() => {
            let row = ELEMENTS.iter().find(|(_, dtype, other, _)| [*dtype, *other].contains(&name));
            row.map(|(_, dtype, _, element)| Global::Dtype(dtype, *element))
        }
        _ => None,
    };
    known.ok_or_else(|| {
        // Protocol 2 writes the name that the module had in Python 2.
        let module = if module == "__builtin__" { "builtins" } else { module };
        let name = shown(&format!("{module}.{name}"));
        format!(
            "`{name}`: this file wants to run code, or holds an object that needs it; expected a state dict of \
             tensors: save it by `torch.save(model.state_dict(), path)`, or convert it to safetensors"
        )
    })
}

/// What a call gives: a value that is there, or a new one.
pub enum Made {
    /// The value with this number. It is shared, so that calls cannot multiply what a file holds.
    Same(Id),
    New(Value),
}

/// What a call of a name gives.
pub fn call(callee: Global, arguments: &[Id], values: &[Value]) -> Result<Made, String> {
    let value = |id: &Id| &values[*id];
    let wrong = || format!("{} is called in a way that torch does not call it", callee.name());
    // Hooks and metadata: a conjugated or negated view would be read wrongly.
    let empty = |ids: &[Id]| {
        ids.iter().all(|id| match value(id) {
            Value::Dict(entries) => entries.is_empty(),
            other => matches!(other, Value::None),
        })
    };
    let tensor = |parts: [&Id; 4], element| {
        let tensor = stored_tensor(parts.map(value), element, values).ok_or_else(wrong)?;
        Ok(Made::New(Value::Tensor(Box::new(tensor))))
    };
    match (callee, arguments) {
        (Global::OrderedDict, []) => Ok(Made::New(Value::Dict(Vec::new()))),
        (Global::Tensor, [storage, offset, shape, strides, _grad, rest @ ..]) if empty(rest) => {
            tensor([storage, offset, shape, strides], None)
        }
        (Global::TypedTensor, [storage, offset, shape, strides, _grad, hooks, dtype, rest @ ..])
            if empty(&[*hooks]) && empty(rest) =>
        {
            let Value::Global(Global::Dtype(_, element)) = value(dtype) else { return Err(wrong()) };
            tensor([storage, offset, shape, strides], Some(*element))
        }
        (Global::Parameter, [tensor, _grad, rest @ ..])
            if empty(rest) && matches!(value(tensor), Value::Tensor(_)) =>
        {
            Ok(Made::Same(*tensor))
        }
        (Global::Size, [shape]) if matches!(value(shape), Value::Tuple(_) | Value::List(_)) => {
            Ok(Made::Same(*shape))
        }
        (Global::Device, [kind]) if matches!(value(kind), Value::Text(_)) => Ok(Made::Same(*kind)),
        (Global::Device, [kind, number]) => match (value(kind), value(number)) {
            (Value::Text(kind), Value::Int(number)) if kind.len() < 64 => {
                Ok(Made::New(Value::Text(format!("{kind}:{number}"))))
            }
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

/// The storage that a persistent id names: `('storage', type, key, device, length)`.
pub fn storage(id: &Value, values: &[Value]) -> Result<Storage, String> {
    let wrong = || "an entry is named in a way that torch does not name storages".to_string();
    let Value::Tuple(parts) = id else { return Err(wrong()) };
    let [tag, kind, key, _device, length] = parts.as_slice() else { return Err(wrong()) };
    match [tag, kind, key, length].map(|part| &values[*part]) {
        [Value::Text(tag), Value::Global(Global::Storage(element)), Value::Text(_), Value::Int(length)]
            if tag == "storage" =>
        {
            let length = usize::try_from(*length).map_err(|_| wrong())?;
            Ok(Storage { element: *element, key: *key, length })
        }
        _ => Err(wrong()),
    }
}

/// Dimensions of a tensor.
const MOST_DIMENSIONS: usize = 8;

fn stored_tensor(
    [storage, offset, shape, strides]: [&Value; 4],
    element: Option<Element>,
    values: &[Value],
) -> Option<StoredTensor> {
    let size = |value: &Value| match value {
        Value::Int(size) => usize::try_from(*size).ok(),
        _ => None,
    };
    let sizes = |value: &Value| match value {
        Value::Tuple(ids) | Value::List(ids) if ids.len() <= MOST_DIMENSIONS => {
            ids.iter().map(|id| size(&values[*id])).collect::<Option<Vec<_>>>()
        }
        _ => None,
    };
    let Value::Storage(storage) = storage else { return None };
    // With a type of its own, a tensor counts its offset in its own elements.
    let element = element.or(storage.element)?;
    Some(StoredTensor {
        storage: *storage,
        element,
        offset: size(offset)?,
        shape: sizes(shape)?,
        strides: sizes(strides)?,
    })
}
