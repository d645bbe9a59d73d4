/* What compilers call the same things. */
#ifndef FM_COMPILER_H
#define FM_COMPILER_H

#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define INLINE static inline __attribute__((always_inline))

#define FM_PASTE_(a, b) a##b
#define FM_PASTE(a, b) FM_PASTE_(a, b)
#define FM_QUOTE_(a) #a
#define FM_QUOTE(a) FM_QUOTE_(a)

#endif
