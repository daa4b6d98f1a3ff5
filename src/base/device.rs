use std::fmt;
use std::str::FromStr;

/// A device for dense computation: `cpu`, `cuda`, or `cuda:N` for the N-th GPU from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceName {
    /// The threads of this process.
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    Cuda(usize),
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(0) => write!(f, "cuda"),
            Self::Cuda(nth) => write!(f, "cuda:{nth}"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let nth = match text {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            _ => text.strip_prefix("cuda:").and_then(|nth| nth.parse().ok()),
        };
        nth.map(Self::Cuda).ok_or_else(|| "expected `cpu`, `cuda` or `cuda:N`".to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_as_they_print() {
        for name in [DeviceName::Cpu, DeviceName::Cuda(0), DeviceName::Cuda(3)] {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        assert_eq!("cuda:0".parse(), Ok(DeviceName::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda1", "CPU"] {
            assert!(wrong.parse::<DeviceName>().is_err(), "{wrong}");
        }
    }
}
