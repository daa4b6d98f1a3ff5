use candle_core::{Device, Result, Tensor, bail};

use super::packed::Packed;

/// A weight matrix `[rows, columns]`: a tensor, which may be a variable or on a GPU, or packed numbers in main memory.
#[derive(Debug, Clone)]
pub(super) enum Rows {
    Plain(Tensor),
    Packed(Packed),
}

impl Rows {
    /// The device of the activations that are multiplied with it.
    pub fn device(&self) -> &Device {
        match self {
            Self::Plain(tensor) => tensor.device(),
            Self::Packed(_) => &Device::Cpu,
        }
    }

    /// A copy on a device. Packed rows are unpacked for a GPU.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        match self {
            Self::Packed(packed) if !device.is_cpu() => {
                Tensor::from_vec(packed.to_f32(), &packed.dims(), device).map(Self::Plain)
            }
            Self::Packed(packed) => Ok(Self::Packed(packed.clone())),
            Self::Plain(tensor) => tensor.to_device(device).map(Self::Plain),
        }
    }

    /// The rows `ids` `[n]` (u32), `[n, columns]`.
    pub fn select(&self, ids: &Tensor) -> Result<Tensor> {
        match self {
            Self::Plain(tensor) => tensor.index_select(ids, 0),
            Self::Packed(packed) => {
                let ids = ids.to_vec1::<u32>()?;
                let [rows, cols] = packed.dims();
                if let Some(id) = ids.iter().find(|&&id| id as usize >= rows) {
                    bail!("row {id} of a matrix with {rows} rows");
                }
                Tensor::from_vec(packed.select(&ids), (ids.len(), cols), &Device::Cpu)
            }
        }
    }

    /// All numbers as f32, row after row, and the number of columns.
    pub fn to_f32(&self) -> Result<(Vec<f32>, usize)> {
        match self {
            Self::Plain(tensor) => Ok((tensor.flatten_all()?.to_vec1()?, tensor.dim(1)?)),
            Self::Packed(packed) => Ok((packed.to_f32(), packed.dims()[1])),
        }
    }

    /// The rows `order`, in that order.
    pub fn in_order(&self, order: &[u32]) -> Result<Self> {
        match self {
            Self::Plain(tensor) => {
                let order = Tensor::from_slice(order, order.len(), tensor.device())?;
                tensor.index_select(&order, 0).map(Self::Plain)
            }
            Self::Packed(packed) => match packed.in_order(order) {
                Some(rows) => Ok(Self::Packed(rows)),
                None => bail!("the order has an index beyond the rows of {:?}", packed.dims()),
            },
        }
    }

    /// `count` rows from row `first` on.
    pub fn narrow(&self, first: usize, count: usize) -> Result<Self> {
        match self {
            Self::Plain(tensor) => tensor.narrow(0, first, count).map(Self::Plain),
            Self::Packed(packed) => match packed.narrow(first, count) {
                Some(part) => Ok(Self::Packed(part)),
                None => bail!("rows {first}..{first}+{count} of a matrix {:?}", packed.dims()),
            },
        }
    }
}
