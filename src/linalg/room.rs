use std::ops::{Deref, DerefMut};

#[cfg(target_os = "linux")]
use memmap2::{Advice, MmapMut};

/// Numbers from which on pages of memory are worth asking for by themselves: some large pages.
#[cfg(target_os = "linux")]
const LARGE: usize = 2 << 20;

/// Numbers that are read here and there in large pieces of memory, such as the rows of a weight matrix.
///
/// Large ones lie in large pages where the system has them for who asks (Linux, `madvise`): with pages of four
/// kilobytes every row that is read costs the processor a walk through the page tables first.
#[derive(Debug)]
pub struct Room(Kind);

#[derive(Debug)]
enum Kind {
    Heap(Vec<f32>),
    #[cfg(target_os = "linux")]
    Pages {
        map: MmapMut,
        len: usize,
    },
}

impl Room {
    /// So many zeros.
    pub fn zeros(len: usize) -> Self {
        #[cfg(target_os = "linux")]
        if len >= LARGE
            && let Ok(map) = MmapMut::map_anon(len * size_of::<f32>())
        {
            // Without large pages all is as right, and slower.
            let _ = map.advise(Advice::HugePage);
            return Self(Kind::Pages { map, len });
        }
        Self(Kind::Heap(vec![0.0; len]))
    }

    /// Room for `len` numbers; what is there already is kept only where that many are there.
    pub fn fit(&mut self, len: usize) {
        if self.len() != len {
            *self = Self::zeros(len);
        }
    }
}

impl Default for Room {
    fn default() -> Self {
        Self(Kind::Heap(Vec::new()))
    }
}

impl Deref for Room {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.0 {
            Kind::Heap(values) => values,
            // SAFETY: the map has len · 4 bytes, begins at a page, and any bytes are an f32; it is this room's own.
            #[cfg(target_os = "linux")]
            #[expect(unsafe_code, reason = "bytes of a map are read as numbers")]
            Kind::Pages { map, len } => unsafe { std::slice::from_raw_parts(map.as_ptr().cast(), *len) },
        }
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [f32] {
        match &mut self.0 {
            Kind::Heap(values) => values,
            // SAFETY: as above, and borrowed mutably.
            #[cfg(target_os = "linux")]
            #[expect(unsafe_code, reason = "bytes of a map are written as numbers")]
            Kind::Pages { map, len } => unsafe {
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
