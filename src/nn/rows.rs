use candle_core::{Device, Tensor};

use super::packed::Packed;

/// A weight matrix, by rows: a tensor, which may be a variable or live on another device, or numbers as they
/// were stored.
#[derive(Debug, Clone)]
pub(super) enum Rows {
    Plain(Tensor),
    Packed(Packed),
}

impl Rows {
    /// Where activations that meet these rows have to be.
    pub fn device(&self) -> &Device {
        match self {
            Self::Plain(tensor) => tensor.device(),
            Self::Packed(_) => &Device::Cpu,
        }
    }

    /// The same on a device; packed rows are unpacked for any but main memory.
    pub fn to_device(&self, device: &Device) -> candle_core::Result<Self> {
        match self {
            Self::Packed(packed) if !device.is_cpu() => {
                Ok(Self::Plain(Tensor::from_vec(packed.to_f32(), &packed.dims(), device)?))
            }
            Self::Packed(packed) => Ok(Self::Packed(packed.clone())),
            Self::Plain(tensor) => Ok(Self::Plain(tensor.to_device(device)?)),
        }
    }

    /// The rows that `ids` `[n]` (u32) name, `[n, columns]`.
    pub fn select(&self, ids: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Plain(tensor) => tensor.index_select(ids, 0),
            Self::Packed(packed) => {
                let ids = ids.to_vec1::<u32>()?;
                let [rows, cols] = packed.dims();
                if let Some(id) = ids.iter().find(|&&id| id as usize >= rows) {
                    candle_core::bail!("row {id} of {rows}");
                }
                Tensor::from_vec(packed.select(&ids), (ids.len(), cols), &Device::Cpu)
            }
        }
    }

    /// Every number as f32, row after row, and the columns of a row.
    pub fn to_f32(&self) -> candle_core::Result<(Vec<f32>, usize)> {
        match self {
            Self::Plain(tensor) => Ok((tensor.flatten_all()?.to_vec1()?, tensor.dim(1)?)),
            Self::Packed(packed) => Ok((packed.to_f32(), packed.dims()[1])),
        }
    }

    /// The rows `order`, one after the other.
    pub fn in_order(&self, order: &[u32]) -> candle_core::Result<Self> {
        match self {
            Self::Plain(tensor) => {
                let order = Tensor::from_slice(order, order.len(), tensor.device())?;
                Ok(Self::Plain(tensor.index_select(&order, 0)?))
            }
            Self::Packed(packed) => match packed.in_order(order) {
                Some(rows) => Ok(Self::Packed(rows)),
                None => candle_core::bail!("an order names rows beyond those of {:?}", packed.dims()),
            },
        }
    }

    /// `count` rows from `first` on.
    pub fn narrow(&self, first: usize, count: usize) -> candle_core::Result<Self> {
        match self {
            Self::Plain(tensor) => Ok(Self::Plain(tensor.narrow(0, first, count)?)),
            Self::Packed(packed) => match packed.narrow(first, count) {
                Some(part) => Ok(Self::Packed(part)),
                None => candle_core::bail!("no {count} rows from {first} on in {:?}", packed.dims()),
            },
        }
    }
}
