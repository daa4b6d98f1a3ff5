//! Large f32 buffers in huge pages.

use std::ops::{Deref, DerefMut};

#[cfg(target_os = "linux")]
use memmap2::{Advice, MmapMut};

/// Buffers of at least this many numbers (8 MiB) are mapped separately, with huge pages.
#[cfg(target_os = "linux")]
const MIN_HUGE: usize = 2 << 20;

/// An f32 buffer for random access to large data, such as rows of a weight matrix.
///
/// On Linux, large buffers ask for huge pages (`madvise`). With 4 KiB pages, each row access costs a
/// page-table walk.
#[derive(Debug)]
pub struct Room(Storage);

#[derive(Debug)]
enum Storage {
    Heap(Vec<f32>),
    #[cfg(target_os = "linux")]
    Pages {
        map: MmapMut,
        len: usize,
    },
}

impl Room {
    /// A buffer of `len` zeros.
    pub fn zeros(len: usize) -> Self {
        #[cfg(target_os = "linux")]
        if len >= MIN_HUGE
            && let Ok(map) = MmapMut::map_anon(len * size_of::<f32>())
        {
            // Huge pages affect speed only.
            let _ = map.advise(Advice::HugePage);
            return Self(Storage::Pages { map, len });
        }
        Self(Storage::Heap(vec![0.0; len]))
    }

    /// Resizes to `len`. The content is kept only if the length does not change; otherwise it is zeros.
    pub fn fit(&mut self, len: usize) {
        if self.len() != len {
            *self = Self::zeros(len);
        }
    }
}

impl Default for Room {
    fn default() -> Self {
        Self(Storage::Heap(Vec::new()))
    }
}

impl Deref for Room {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.0 {
            Storage::Heap(values) => values,
            // SAFETY: the map is this buffer's own, page-aligned, 4·len bytes long; any bytes are valid f32.
            #[cfg(target_os = "linux")]
            #[expect(unsafe_code, reason = "bytes of a map are read as numbers")]
            Storage::Pages { map, len } => unsafe { std::slice::from_raw_parts(map.as_ptr().cast(), *len) },
        }
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [f32] {
        match &mut self.0 {
            Storage::Heap(values) => values,
            // SAFETY: as in `deref`, and borrowed mutably.
            #[cfg(target_os = "linux")]
            #[expect(unsafe_code, reason = "bytes of a map are written as numbers")]
            Storage::Pages { map, len } => unsafe {
                std::slice::from_raw_parts_mut(map.as_mut_ptr().cast(), *len)
            },
        }
    }
}

impl<'a> IntoIterator for &'a Room {
    type Item = &'a f32;
    type IntoIter = std::slice::Iter<'a, f32>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Vec<f32>> for Room {
    fn from(values: Vec<f32>) -> Self {
        let mut room = Self::zeros(values.len());
        room.copy_from_slice(&values);
        room
    }
}

impl Clone for Room {
    fn clone(&self) -> Self {
        let mut room = Self::zeros(self.len());
        room.copy_from_slice(self);
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_of_any_size_hold_what_is_put_there() {
        for len in [0, 1, 1000, (2 << 20) + 3] {
            let mut room = Room::zeros(len);
            assert!(room.len() == len && room.iter().all(|value| *value == 0.0));
            room.iter_mut().enumerate().for_each(|(place, value)| *value = place as f32);
            let other = room.clone();
            room.fit(len);
            assert!(room.iter().zip(other.iter()).all(|(a, b)| a == b));
            let back = Room::from(other.to_vec());
            assert_eq!(*back, *other);
            room.fit(len + 1);
            assert!(room.len() == len + 1 && room.iter().all(|value| *value == 0.0));
        }
    }
}
