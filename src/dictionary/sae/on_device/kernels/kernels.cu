// CUDA versions of the loops in `kernels.rs`. Compiled by NVRTC at run time, without headers.

typedef unsigned int u32;
typedef unsigned long long u64;

// Adam's moments: running means of the gradient and of its square.
extern "C" __global__ void adam_first(float *moment, const float *gradient, float beta, u64 n) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        moment[i] = beta * moment[i] + (1.0f - beta) * gradient[i];
    }
}

extern "C" __global__ void adam_second(float *moment, const float *gradient, float beta, u64 n) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        float g = gradient[i];
        moment[i] = beta * moment[i] + (1.0f - beta) * g * g;
    }
}

extern "C" __global__ void adam_descend(float *values, const float *first, const float *second, float rate,
                                        float second_correction, float epsilon, u64 n) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        values[i] -= rate * first[i] / (sqrtf(second[i]) * second_correction + epsilon);
    }
}

// The bits of positive floats are ordered like the floats. All others, NaN included, map to 0 and are never kept.
__device__ __forceinline__ u32 key_of(float x) {
    return x > 0.0f ? __float_as_uint(x) : 0u;
}

// Radix select, one block per row: finds the k-th largest key eight bits at a time, from the top. A histogram of the
// current digit over the keys that match the digits found so far gives the digit of the k-th key. Of keys equal to the
// k-th, the lowest columns are kept until there are k. `out` must hold zeros.
extern "C" __global__ void keep_largest(const float *x, float *out, u64 columns, u32 k) {
    __shared__ u32 counts[256];
    __shared__ u32 found;
    __shared__ u32 wanted;
    __shared__ u32 equal;
    const float *row = x + (u64)blockIdx.x * columns;
    float *kept = out + (u64)blockIdx.x * columns;
    if (threadIdx.x == 0) {
        found = 0;
        wanted = k;
        equal = 0;
    }
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (u32 i = threadIdx.x; i < 256; i += blockDim.x) {
            counts[i] = 0;
        }
        __syncthreads();
        u32 above = shift == 24 ? 0u : 0xffffffffu << (shift + 8);
        u32 so_far = found;
        for (u64 i = threadIdx.x; i < columns; i += blockDim.x) {
            u32 key = key_of(row[i]);
            if (key != 0 && (key & above) == so_far) {
                atomicAdd(&counts[(key >> shift) & 255u], 1u);
            }
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            // With fewer than k keys in all, the loop ends at digit 0 and all keys are kept.
            u32 digit = 255;
            while (digit > 0 && counts[digit] < wanted) {
                wanted -= counts[digit];
                digit--;
            }
            found = so_far | (digit << shift);
            equal = counts[digit];
        }
        __syncthreads();
    }
    u32 last = found;
    u32 ties = wanted;
    bool all_ties = equal <= ties;
    for (u64 i = threadIdx.x; i < columns; i += blockDim.x) {
        u32 key = key_of(row[i]);
        if (key != 0 && (key > last || (all_ties && key == last))) {
            kept[i] = row[i];
        }
    }
    if (!all_ties && threadIdx.x == 0) {
        for (u64 i = 0; i < columns && ties > 0; i++) {
            if (key_of(row[i]) == last) {
                kept[i] = row[i];
                ties--;
            }
        }
    }
}
