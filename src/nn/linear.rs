//! Linear map y = act(x Wᵀ + b): x [N, d_in], W [d_out, d_in], b [d_out], y [N, d_out].
//!
//! Inference on the CPU uses the fused kernels. Rows or weights that track gradients, or are on a GPU, use candle's
//! differentiable operations. Where only the rows track gradients, the product computes no gradient of the weight.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Storage, Tensor, bail};

use super::architecture::Activation;
use super::kernels;
use super::ops::{can_fuse, entries, in_parts, is_alone};
use super::packed::Packed;
use super::rows::Rows;
use crate::linalg::{HalfPanels, StoredRows, multiply_stored};

#[derive(Debug, Clone)]
pub(super) struct Linear {
    pub weight: Rows,
    pub bias: Option<Tensor>,
    /// The weight in bf16, if products use it.
    half: Option<Arc<HalfPanels>>,
}

impl Linear {
    pub fn new(weight: Rows, bias: Option<Tensor>) -> Self {
        Self { weight, bias, half: None }
    }

    /// The same map with its outputs permuted.
    pub fn in_order(&self, order: &[u32]) -> Result<Self> {
        let weight = self.weight.in_order(order)?;
        let select =
            |bias: &Tensor| bias.index_select(&Tensor::from_slice(order, order.len(), bias.device())?, 0);
        Ok(Self::new(weight, self.bias.as_ref().map(select).transpose()?))
    }

    /// Makes products use bf16.
    pub fn round(&mut self) -> Result<()> {
        let (entries, width) = self.weight.to_f32()?;
        let mut half = HalfPanels::default();
        half.fill(&entries, width);
        self.half = Some(Arc::new(half));
        Ok(())
    }

    /// Moves the map to a device. Products of bf16 exist on the CPU only.
    pub fn move_to(&mut self, device: &Device) -> Result<()> {
        self.weight = self.weight.to_device(device)?;
        if !device.is_cpu() {
            self.half = None;
        }
        self.bias = self.bias.as_ref().map(|bias| bias.to_device(device)).transpose()?;
        Ok(())
    }

    /// y `[N, d_out]` of x `[N, d_in]`.
    pub fn forward(&self, x: &Tensor, act: Option<Activation>) -> Result<Tensor> {
        let is_inference = can_fuse([x].into_iter().chain(&self.bias));
        if let (Some(half), true) = (&self.half, is_inference) {
            return self.forward_half(x, half, act);
        }
        match &self.weight {
            Rows::Packed(weight) if x.track_op() => {
                let weight = Tensor::from_vec(weight.to_f32(), &weight.dims(), x.device())?;
                self.forward_composed(x, &weight, act)
            }
            Rows::Packed(weight) => Ok(forward_packed(x, &[(self, weight, act)])?.swap_remove(0)),
            Rows::Plain(weight) if is_inference && can_fuse([weight]) => self.forward_plain(x, weight, act),
            Rows::Plain(weight) => self.forward_composed(x, weight, act),
        }
    }

    fn forward_composed(&self, x: &Tensor, weight: &Tensor, act: Option<Activation>) -> Result<Tensor> {
        let product = match x.device().is_cpu() && !weight.track_op() {
            true => x.contiguous()?.apply_op1(TimesFixed(weight.clone()))?,
            false => x.matmul(&weight.t()?)?,
        };
        let sum = match &self.bias {
            Some(bias) => product.broadcast_add(bias)?,
            None => product,
        };
        match act {
            None => Ok(sum),
            Some(Activation::Gelu) => sum.gelu_erf(),
            Some(Activation::GeluTanh) => sum.gelu(),
            Some(Activation::Silu) => sum.silu(),
            // x·σ(1.702 x)
            Some(Activation::QuickGelu) => (&sum * 1.702)?.silu()? / 1.702,
            Some(Activation::Relu) => sum.relu(),
            Some(Activation::ReluSquared) => sum.relu()?.sqr(),
        }
    }

    fn forward_half(&self, x: &Tensor, half: &HalfPanels, act: Option<Activation>) -> Result<Tensor> {
        let x = x.contiguous()?;
        let ((rows, got), [width, d_in]) = (x.dims2()?, half.dims());
        if got != d_in {
            bail!("rows {:?} do not fit the map {:?}", x.dims(), half.dims());
        }
        let mut out = vec![0.0; rows * width];
        let xs: &[f32] = &entries(&x)?;
        let (bias, no_bias) = (self.bias.as_ref().map(entries).transpose()?, vec![0.0; width]);
        let bias = bias.as_deref().unwrap_or(&no_bias);
        in_parts(&mut out, width, |at, out| {
            let (first, count) = (at / width, out.len() / width);
            half.multiply(&xs[first * d_in..][..count * d_in], bias, out);
        });
        finish_rows(out, None, width, act)
    }

    fn forward_plain(&self, x: &Tensor, weight: &Tensor, act: Option<Activation>) -> Result<Tensor> {
        let x = x.contiguous()?;
        let out = multiply_plain(&entries(&x)?, x.dims2()?, weight)?;
        finish_rows(out, self.bias.as_ref(), weight.dim(0)?, act)
    }
}

/// x Wᵀ of `x` with a weight in main memory.
fn multiply_plain(x: &[f32], shape: (usize, usize), weight: &Tensor) -> Result<Vec<f32>> {
    let (storage, layout) = weight.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { bail!("a kernel needs a tensor in main memory") };
    let data = &storage.as_slice::<f32>()?[layout.start_offset()..];
    let (width, d_in) = layout.shape().dims2()?;
    let strided = Strided { data, dims: [width, d_in], strides: [layout.stride()[0], layout.stride()[1]] };
    if shape.1 != d_in || !strided.is_inside() {
        bail!("rows {shape:?} do not fit the map {:?}", weight.dims());
    }
    Ok(multiply_stored(x, &strided, is_alone()))
}

/// x to x Wᵀ, differentiable with respect to x alone. Candle's own product would also compute the gradient of W, which
/// takes as much memory as W.
struct TimesFixed(Tensor);

impl CustomOp1 for TimesFixed {
    fn name(&self) -> &'static str {
        "product with a fixed weight"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a product needs contiguous rows, got {layout:?}");
        };
        let (rows, d_in) = layout.shape().dims2()?;
        let out = multiply_plain(&storage.as_slice::<f32>()?[start..end], (rows, d_in), &self.0)?;
        Ok((CpuStorage::F32(out), Shape::from((rows, self.0.dim(0)?))))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        gradient.matmul(&self.0).map(Some)
    }
}

/// [`Linear::forward`] of several maps on the same rows. The threads are started once if all weights are packed.
pub(super) fn forward_each<const N: usize>(
    x: &Tensor,
    maps: [(&Linear, Option<Activation>); N],
) -> Result<[Tensor; N]> {
    let packed = maps.iter().map(|&(map, act)| match &map.weight {
        Rows::Packed(weight) if map.half.is_none() && !x.track_op() => Some((map, weight, act)),
        _ => None,
    });
    let outputs = match packed.collect::<Option<Vec<_>>>() {
        Some(maps) => forward_packed(x, &maps)?,
        None => maps.iter().map(|(map, act)| map.forward(x, *act)).collect::<Result<_>>()?,
    };
    match outputs.try_into() {
        Ok(outputs) => Ok(outputs),
        Err(_) => bail!("each map has one output"),
    }
}

/// The outputs of maps with packed weights.
fn forward_packed(x: &Tensor, maps: &[(&Linear, &Packed, Option<Activation>)]) -> Result<Vec<Tensor>> {
    let x = x.contiguous()?;
    let (_, got) = x.dims2()?;
    let weights: Vec<&Packed> = maps.iter().map(|(_, weight, _)| *weight).collect();
    if let Some(weight) = weights.iter().find(|weight| weight.dims()[1] != got) {
        bail!("rows {:?} do not fit the map {:?}", x.dims(), weight.dims());
    }
    let Some(products) = Packed::multiply_each(&entries(&x)?, &weights, is_alone()) else {
        bail!("rows {:?} do not fit a map without columns", x.dims());
    };
    let outputs = products
        .into_iter()
        .zip(maps)
        .map(|(product, &(map, weight, act))| finish_rows(product, map.bias.as_ref(), weight.dims()[0], act));
    outputs.collect()
}

/// A tensor of `rows` of `width` in main memory, with the bias added and the activation applied.
fn finish_rows(
    mut rows: Vec<f32>,
    bias: Option<&Tensor>,
    width: usize,
    act: Option<Activation>,
) -> Result<Tensor> {
    let bias = bias.map(entries).transpose()?;
    let bias = bias.as_deref();
    if bias.is_some() || act.is_some() {
        in_parts(&mut rows, width, |_, rows| kernels::add_bias_and_activate(rows, bias, width, act));
    }
    let n = rows.len() / width.max(1);
    Tensor::from_vec(rows, (n, width), &Device::Cpu)
}

/// A matrix with arbitrary strides: entry (row, col) is `data[row · strides[0] + col · strides[1]]`.
struct Strided<'a> {
    data: &'a [f32],
    dims: [usize; 2],
    strides: [usize; 2],
}

impl Strided<'_> {
    /// True if every entry lies in `data`.
    fn is_inside(&self) -> bool {
        let reach = |(dim, stride): (usize, usize)| dim.saturating_sub(1) * stride;
        self.dims.contains(&0)
            || self.dims.into_iter().zip(self.strides).map(reach).sum::<usize>() < self.data.len()
    }
}

impl StoredRows for Strided<'_> {
    fn dims(&self) -> [usize; 2] {
        self.dims
    }

    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        let [row_stride, col_stride] = self.strides;
        let entries = &self.data[row * row_stride + columns.start * col_stride..];
        if col_stride == 1 {
            out.copy_from_slice(&entries[..columns.len()]);
        } else {
            out.iter_mut().zip(entries.iter().step_by(col_stride)).for_each(|(slot, entry)| *slot = *entry);
        }
    }
}
