/* Elementary functions that compilers turn into vector code.
 *
 * Every function is a straight line of arithmetic and selections, so that a plain loop around it
 * vectorises for SSE2, AVX2, AVX-512 and NEON with -O3 -fno-trapping-math -fno-math-errno and
 * without any fast-math.  With -ffp-contract=off one element gives the same bits wherever it lies
 * in an array.  Names end in _f32 or _f64; both come from vecmath_body.h, this file holds what
 * differs: constants and polynomials.
 *
 * NaN in gives NaN out, infinities give limits, results that underflow are denormal and rounded.
 * Measured errors are in fusedmlp/spec.py and checked by bench/ulp.py.
 *
 * Every polynomial is minimax in relative error (Remez exchange with 45 digits; the leading
 * coefficients are rounded first and the others fitted again where that matters).  Long ones are
 * evaluated in their even and odd parts, which halves the chain of dependent steps.
 */
#ifndef FUSEDMLP_VECMATH_H
#define FUSEDMLP_VECMATH_H

#include <stdint.h>
#include <string.h>

/* GCC's jump threading makes a chain of branches of two clamps in a row, and its redundancy
 * elimination carries the constant of a clamp through what follows; both cost selections where a
 * minimum and a maximum were. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-thread-jumps", "no-tree-pre")
#endif

#if defined(__GNUC__) || defined(__clang__)
#define FM_INLINE static inline __attribute__((always_inline, unused))
#else
#define FM_INLINE static inline
#endif

#if defined(__FMA__) || defined(__aarch64__)
#define FM_HAS_FMA 1
#else
#define FM_HAS_FMA 0
#endif

/* ---- float ---------------------------------------------------------------------------------- */

/* a * b + c, in one rounding where the processor does that as fast as a product */
FM_INLINE float fm_fma_f32(float a, float b, float c) {
#if FM_HAS_FMA
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

#define FMA(a, b, c) fm_fma_f32(a, b, c)

/* (expm1(r) - r) / r^2 on |r| <= ln(2)/2; 2^-26 of expm1 */
FM_INLINE float fm_poly_expm1_f32(float r) {
    float q = 0x1.6c568ep-10f;
    q = FMA(q, r, 0x1.1228dap-7f);
    q = FMA(q, r, 0x1.5555bep-5f);
    q = FMA(q, r, 0x1.5554bp-3f);
    return FMA(q, r, 0.5f);
}

/* (log1p(f) - f + f^2/2) / f^3 on [sqrt(1/2) - 1, sqrt(2) - 1]; 2^-27 of log1p */
FM_INLINE float fm_poly_log1p_f32(float f) {
    float f2 = f * f;
    float even = 0x1.0564dcp-3f;
    even = FMA(even, f2, 0x1.22d8fap-3f);
    even = FMA(even, f2, 0x1.99a012p-3f);
    even = FMA(even, f2, 0x1.555554p-2f);
    float odd = -0x1.38c2f6p-4f;
    odd = FMA(odd, f2, -0x1.0d8732p-3f);
    odd = FMA(odd, f2, -0x1.5471f8p-3f);
    odd = FMA(odd, f2, -0x1.000228p-2f);
    return FMA(odd, f, even);
}

/* (arctan(t) - t) / t^3 on [0, 1], z = t^2; 2^-28 of arctan */
FM_INLINE float fm_poly_atan_f32(float z) {
    float q = -0x1.d589aap-10f;
    q = FMA(q, z, 0x1.65462ep-7f);
    q = FMA(q, z, -0x1.fe73eep-6f);
    q = FMA(q, z, 0x1.da9874p-5f);
    q = FMA(q, z, -0x1.582522p-4f);
    q = FMA(q, z, 0x1.c0943ep-4f);
    q = FMA(q, z, -0x1.242118p-3f);
    q = FMA(q, z, 0x1.9991ecp-3f);
    return FMA(q, z, -0x1.55553ep-2f);
}

/* (t - tanh(t)) / t^3 on [0, 1], z = t^2; 2^-25 */
FM_INLINE float fm_poly_tanh_shrink_f32(float z) {
    float q = -0x1.3bd11cp-13f;
    q = FMA(q, z, 0x1.f3f8ccp-11f);
    q = FMA(q, z, -0x1.aa6e2p-9f);
    q = FMA(q, z, 0x1.1e37d2p-7f);
    q = FMA(q, z, -0x1.65e994p-6f);
    q = FMA(q, z, 0x1.ba18c8p-5f);
    q = FMA(q, z, -0x1.111122p-3f);
    return FMA(q, z, 0x1.555556p-2f);
}

/* 2 (t + 3) exp(t^2/2) Phi(-t), u = (t - 3) / (t + 3), 0 <= t <= 15; Phi the normal cdf */
FM_INLINE float fm_poly_normal_tail_f32(float u) {
    float q = 0x1.c9168ep-14f;
    q = FMA(q, u, 0x1.136b5cp-12f);
    q = FMA(q, u, -0x1.009e44p-11f);
    q = FMA(q, u, -0x1.0eaed4p-9f);
    q = FMA(q, u, 0x1.0ca216p-9f);
    q = FMA(q, u, 0x1.c8bda4p-7f);
    q = FMA(q, u, -0x1.56d5ecp-6f);
    q = FMA(q, u, -0x1.832d0ap-4f);
    q = FMA(q, u, 0x1.d71386p-2f);
    q = FMA(q, u, -0x1.04c72ap+0f);
    return FMA(q, u, 0x1.754a76p+0f);
}

/* log(2 (t + 2.75) Phi(-t) / 2.5) + t^2/2, u = 1.125 - 5.5 / (t + 2.75), on [0, 14.5]; 2^-28, less
 * where x Phi(x) is denormal */
FM_INLINE float fm_poly_log_normal_tail_f32(float u) {
    float u2 = u * u;
    float even = -0x1.775546p-13f;
    even = FMA(even, u2, 0x1.5f2c5p-11f);
    even = FMA(even, u2, -0x1.1c1p-10f);
    even = FMA(even, u2, -0x1.515edp-10f);
    even = FMA(even, u2, 0x1.1ae054p-6f);
    even = FMA(even, u2, -0x1.e167aap-2f);
    float odd = -0x1.338b1cp-12f;
    odd = FMA(odd, u2, 0x1.feae2p-10f);
    odd = FMA(odd, u2, -0x1.30ced4p-7f);
    odd = FMA(odd, u2, 0x1.9f152cp-5f);
    odd = FMA(odd, u2, -0x1.55358ep-1f);
    return FMA(odd, u, even);
}

#undef FMA

#define FM_R float
#define FM_U uint32_t
#define FM(name) fm_##name##_f32
#define FM_C(x) ((float)(x))
#define FM_MANTISSA 23
#define FM_BIAS 127
#define FM_HALF_MASK UINT32_C(0xfffff000)
#define FM_SIGN_MASK UINT32_C(0x80000000)
#define FM_MAGIC 0x1.8p+23f
#define FM_LN2_HI 0x1.63p-1f         /* n * LN2_HI is exact for |n| < 2^14 */
#define FM_LN2_LO -0x1.bd0106p-13f
#define FM_SPLIT 32                  /* see exp2 scaling in vecmath_body.h */
#define FM_EXP_MIN -104.5f
#define FM_EXP_MAX 89.0f
#define FM_SIGMOID_MIN -110.0f
#define FM_SIGMOID_MAX 30.0f
#define FM_TANH_MAX 9.5f
#define FM_EXPM1_MIN -18.0f
#define FM_NORMAL_MAX 14.5f
#define FM_NORMAL_SHIFT 3.0f
#define FM_GELU_SHIFT 2.75f
#define FM_GELU_SCALE 2.5f
#define FM_GELU_CENTRE 1.125f
#define FM_GELU_SLOPE -0.392f, -0.534f
#define FM_GELU_TANH_MIN -10.85f
#define FM_GELU_TANH_MAX 6.0f
#define FM_SQUARE_MAX 0x1p+62f       /* squares up to here are finite */
#define FM_SQUARE_DOWN 0x1p-64f
#define FM_SQUARE_UP 0x1p+64f
#define FM_MIN_NORMAL 0x1p-126f
#include "vecmath_body.h"

/* ---- double --------------------------------------------------------------------------------- */

FM_INLINE double fm_fma_f64(double a, double b, double c) {
#if FM_HAS_FMA
    return __builtin_fma(a, b, c);
#else
    return a * b + c;
#endif
}

#define FMA(a, b, c) fm_fma_f64(a, b, c)

/* as above; 2^-59 */
FM_INLINE double fm_poly_expm1_f64(double r) {
    double r2 = r * r;
    double even = 0x1.1ef528c1bdafbp-29;
    even = FMA(even, r2, 0x1.27e52b5e6ab4ep-22);
    even = FMA(even, r2, 0x1.a01a0182d746ep-16);
    even = FMA(even, r2, 0x1.6c16c16c1cdb7p-10);
    even = FMA(even, r2, 0x1.5555555555548p-5);
    even = FMA(even, r2, 0.5);
    double odd = 0x1.af5d9e80200f2p-26;
    odd = FMA(odd, r2, 0x1.71ddf9120b6eep-19);
    odd = FMA(odd, r2, 0x1.a01a01af8cf2fp-13);
    odd = FMA(odd, r2, 0x1.111111110f7b9p-7);
    odd = FMA(odd, r2, 0x1.5555555555559p-3);
    return FMA(odd, r, even);
}

/* 2^-57 */
FM_INLINE double fm_poly_log1p_f64(double f) {
    double f2 = f * f;
    double even = 0x1.d2be01f36136ep-5;
    even = FMA(even, f2, 0x1.bba753ac78262p-5);
    even = FMA(even, f2, 0x1.dc98b10148e23p-5);
    even = FMA(even, f2, 0x1.1169f4e3bfa61p-4);
    even = FMA(even, f2, 0x1.3b0d796f637e7p-4);
    even = FMA(even, f2, 0x1.745d58cb2c65bp-4);
    even = FMA(even, f2, 0x1.c71c702e3a325p-4);
    even = FMA(even, f2, 0x1.249249275d404p-3);
    even = FMA(even, f2, 0x1.9999999994dcp-3);
    even = FMA(even, f2, 0x1.555555555556bp-2);
    double odd = -0x1.8dd6249f4e13bp-6;
    odd = FMA(odd, f2, -0x1.010658d355407p-4);
    odd = FMA(odd, f2, -0x1.b45d847aa758ap-5);
    odd = FMA(odd, f2, -0x1.00cfc6383a5dp-4);
    odd = FMA(odd, f2, -0x1.24894836181f7p-4);
    odd = FMA(odd, f2, -0x1.555576f6a6d4dp-4);
    odd = FMA(odd, f2, -0x1.99999a9e636a7p-4);
    odd = FMA(odd, f2, -0x1.fffffff3b2b17p-4);
    odd = FMA(odd, f2, -0x1.555555556b0c7p-3);
    odd = FMA(odd, f2, -0x1.ffffffffffe7cp-3);
    return FMA(odd, f, even);
}

/* 2^-54.5, a quarter of the last place of arctan where it counts */
FM_INLINE double fm_poly_atan_f64(double z) {
    double q = 0x1.98d9140e11d87p-17;
    q = FMA(q, z, -0x1.28c3b4a9740c7p-13);
    q = FMA(q, z, 0x1.995cd107d9544p-11);
    q = FMA(q, z, -0x1.66d2d32e7c61ep-9);
    q = FMA(q, z, 0x1.c4449b18bd168p-8);
    q = FMA(q, z, -0x1.b955a88e84a83p-7);
    q = FMA(q, z, 0x1.60639b8bf21e6p-6);
    q = FMA(q, z, -0x1.e34fcb2ebc577p-6);
    q = FMA(q, z, 0x1.29fa5b72f56c5p-5);
    q = FMA(q, z, -0x1.588057417de7dp-5);
    q = FMA(q, z, 0x1.8264f2c7e0f7cp-5);
    q = FMA(q, z, -0x1.ae3969d727511p-5);
    q = FMA(q, z, 0x1.e1b2b6282fcefp-5);
    q = FMA(q, z, -0x1.110d80d25f80bp-4);
    q = FMA(q, z, 0x1.3b134ac2b7c28p-4);
    q = FMA(q, z, -0x1.745d0f0fffb74p-4);
    q = FMA(q, z, 0x1.c71c71564d522p-4);
    q = FMA(q, z, -0x1.24924922bfb6ap-3);
    q = FMA(q, z, 0x1.99999999925a8p-3);
    return FMA(q, z, -0x1.5555555555526p-2);
}

/* 2^-54 */
FM_INLINE double fm_poly_tanh_shrink_f64(double z) {
    double z2 = z * z;
    double even = 0x1.0def7b0a4bd79p-27;
    even = FMA(even, z2, 0x1.07334c11cd75bp-21);
    even = FMA(even, z2, 0x1.7e702daa2fabcp-18);
    even = FMA(even, z2, 0x1.468100a701dd9p-15);
    even = FMA(even, z2, 0x1.f55dcae879d15p-13);
    even = FMA(even, z2, 0x1.7da32da78c391p-10);
    even = FMA(even, z2, 0x1.226e3544adfb7p-7);
    even = FMA(even, z2, 0x1.ba1ba1ba1729p-5);
    even = FMA(even, z2, 0x1.5555555555555p-2);
    double odd = -0x1.79800ae02dbd1p-24;
    odd = FMA(odd, z2, -0x1.f63638fdd8062p-20);
    odd = FMA(odd, z2, -0x1.0130eb081944dp-16);
    odd = FMA(odd, z2, -0x1.95cc2ff5d091bp-14);
    odd = FMA(odd, z2, -0x1.355602819c176p-11);
    odd = FMA(odd, z2, -0x1.d6d3cce9acd41p-9);
    odd = FMA(odd, z2, -0x1.664f4881e449ep-6);
    odd = FMA(odd, z2, -0x1.11111111110b2p-3);
    return FMA(odd, z, even);
}

/* 2 (t + 4) exp(t^2/2) Phi(-t), u = (t - 4) / (t + 4), 0 <= t <= 39.5 */
FM_INLINE double fm_poly_normal_tail_f64(double u) {
    double u2 = u * u;
    double even = 0x1.138071a5d2252p-33;
    even = FMA(even, u2, -0x1.6b667de7441edp-28);
    even = FMA(even, u2, 0x1.5082b79989896p-25);
    even = FMA(even, u2, -0x1.6d85cfe93048ep-23);
    even = FMA(even, u2, 0x1.236f47bafaacp-21);
    even = FMA(even, u2, -0x1.51ee39511d8a5p-20);
    even = FMA(even, u2, 0x1.80b44087e2b82p-20);
    even = FMA(even, u2, -0x1.001e6db516935p-18);
    even = FMA(even, u2, 0x1.17a4ae3fab6cap-12);
    even = FMA(even, u2, -0x1.c81719d55f1aep-8);
    even = FMA(even, u2, 0x1.eec4cc3e4d3abp-4);
    even = FMA(even, u2, 0x1.8c6dbf2cfc2b3p-1);
    even = FMA(even, u2, 0x1.82b4bb8c94dcep+0);
    double odd = -0x1.3a2a27e3ae80cp-30;
    odd = FMA(odd, u2, 0x1.761041577300fp-29);
    odd = FMA(odd, u2, 0x1.e60a62617ca9dp-26);
    odd = FMA(odd, u2, -0x1.4e6858cefecdap-22);
    odd = FMA(odd, u2, 0x1.1254b5923767bp-19);
    odd = FMA(odd, u2, -0x1.8d4e382b009edp-17);
    odd = FMA(odd, u2, 0x1.26d0b466cb7f2p-14);
    odd = FMA(odd, u2, -0x1.e4a4269b904eap-12);
    odd = FMA(odd, u2, 0x1.ab825fc4fe6cfp-9);
    odd = FMA(odd, u2, -0x1.ee2761048e51ap-7);
    odd = FMA(odd, u2, -0x1.7dff2bff68365p-2);
    odd = FMA(odd, u2, -0x1.373e3a893c28ap+0);
    return FMA(odd, u, even);
}

/* log((t + 4) Phi(-t)) + t^2/2, u = 1 - 8 / (t + 4), on [0, 38.8]; 2^-55 */
FM_INLINE double fm_poly_log_normal_tail_f64(double u) {
    double u2 = u * u;
    double even = 0x1.fa1045fc4aeabp-28;
    even = FMA(even, u2, -0x1.f836057baae3ep-25);
    even = FMA(even, u2, 0x1.59bbad0da0413p-22);
    even = FMA(even, u2, -0x1.9c1768a88e8dbp-20);
    even = FMA(even, u2, 0x1.b2516d88a1b79p-18);
    even = FMA(even, u2, -0x1.932a5bae096a5p-16);
    even = FMA(even, u2, 0x1.42fa3123a0edbp-14);
    even = FMA(even, u2, -0x1.95dfe0c1fbc7dp-13);
    even = FMA(even, u2, 0x1.930985ab416ecp-13);
    even = FMA(even, u2, 0x1.0ebdafac5818bp-9);
    even = FMA(even, u2, -0x1.795a760f9e52p-6);
    even = FMA(even, u2, 0x1.826757b265dc3p-3);
    even = FMA(even, u2, -0x1.1f655211aafd7p-2);
    double odd = 0x1.a3883d1026455p-27;
    odd = FMA(odd, u2, -0x1.45f535ad4f2cep-24);
    odd = FMA(odd, u2, 0x1.cb8677573e58p-23);
    odd = FMA(odd, u2, -0x1.580554433a763p-24);
    odd = FMA(odd, u2, -0x1.a598158cefd8ep-19);
    odd = FMA(odd, u2, 0x1.a8d40032f5eb2p-16);
    odd = FMA(odd, u2, -0x1.29c0983ada2a6p-13);
    odd = FMA(odd, u2, 0x1.5f0b0a289dd1fp-11);
    odd = FMA(odd, u2, -0x1.68b0f4580fc61p-9);
    odd = FMA(odd, u2, 0x1.2e1a46f17307dp-7);
    odd = FMA(odd, u2, -0x1.0cccc0c6aab8ap-7);
    odd = FMA(odd, u2, -0x1.9c163cb538379p-1);
    return FMA(odd, u, even);
}

#undef FMA

#define FM_R double
#define FM_U uint64_t
#define FM(name) fm_##name##_f64
#define FM_C(x) ((double)(x))
#define FM_MANTISSA 52
#define FM_BIAS 1023
#define FM_HALF_MASK UINT64_C(0xfffffffff8000000)
#define FM_SIGN_MASK UINT64_C(0x8000000000000000)
#define FM_MAGIC 0x1.8p+52
#define FM_LN2_HI 0x1.62e42fee00000p-1
#define FM_LN2_LO 0x1.a39ef35793c76p-33
#define FM_SPLIT 64
#define FM_EXP_MIN -746.0
#define FM_EXP_MAX 710.0
#define FM_SIGMOID_MIN -752.0
#define FM_SIGMOID_MAX 40.0
#define FM_TANH_MAX 19.5
#define FM_EXPM1_MIN -38.0
#define FM_NORMAL_MAX 38.8
#define FM_NORMAL_SHIFT 4.0
#define FM_GELU_SHIFT 4.0
#define FM_GELU_SCALE 2.0
#define FM_GELU_CENTRE 1.0
#define FM_GELU_SLOPE -0.44, -2.31
#define FM_GELU_TANH_MIN -21.58
#define FM_GELU_TANH_MAX 8.0
#define FM_SQUARE_MAX 0x1p+510
#define FM_SQUARE_DOWN 0x1p-512
#define FM_SQUARE_UP 0x1p+512
#define FM_MIN_NORMAL 0x1p-1022
#include "vecmath_body.h"

#endif
