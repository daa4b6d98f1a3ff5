//! A macro that compiles one loop for several instruction sets.

/// Compiles `$body` for AVX-512, AVX2 and any processor, and calls the best version this processor supports.
/// `$body::<true>` may use fused multiply-add.
macro_rules! dispatched {
    ($(#[$doc:meta])* $name:ident = $body:ident($($arg:ident: $ty:ty),* $(,)?)) => {
        $(#[$doc])*
        #[allow(unsafe_code, reason = "calls a function compiled for features that were just detected")]
        pub(super) fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                fn widest($($arg: $ty),*) {
                    $body::<true>($($arg),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn wide($($arg: $ty),*) {
                    $body::<true>($($arg),*);
                }
                let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
                let avx512 = is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq");
                if avx2 && avx512 {
                    // SAFETY: every feature that `widest` is compiled for was detected above.
                    return unsafe { widest($($arg),*) };
                }
                if avx2 {
                    // SAFETY: both features that `wide` is compiled for were detected above.
                    return unsafe { wide($($arg),*) };
                }
            }
            // Elsewhere, fused multiply-add is fast only on aarch64.
            $body::<{ cfg!(target_arch = "aarch64") }>($($arg),*);
        }
    };
}

pub(crate) use dispatched;
