/* The matrix product: one register tile and one driver.  Included by template.h, per precision.
 *
 * c (m, n) = bias + a b.  A tile holds TILE_ROWS x 2 vectors of sums in registers, starts them at
 * the bias, and walks once along k: one vector load of b serves all rows, one broadcast of an
 * element of a serves both vectors.  Each output element is one chain of multiply-adds in the
 * order of k, whichever tile it falls in, so neither the batch nor the threads change its bits.
 */
typedef R A(vec) __attribute__((vector_size(VECTOR), aligned(sizeof(R)), may_alias));
typedef __typeof__((A(vec)){0} <= (A(vec)){0}) A(mask);
enum { A(LANES) = VECTOR / sizeof(R), A(PANEL) = FM_PANEL / sizeof(R) };
enum { A(PER_PANEL) = FM_PANEL / VECTOR };

#define LOAD(p) (*(const A(vec) *)(p))
#define SAVE(p, v) (*(A(vec) *)(p) = (v))
/* A pointer walks along: the compiler would compute and spill every row's address beforehand. */
#define OPAQUE(p) __asm__("" : "+r"(p))

typedef struct {
    long k, lda, ldb, ldc;
    int ending, adding;
} A(product);

/* One tile; `rows`, `vecs` and `transposed` are constants wherever it is inlined. */
INLINE void A(tile)(const int rows, const int vecs, const int transposed, const A(product) *q,
                    const R *a, const R *b, const R *bias, R *c, const R *saved)
{
    A(vec) sum[TILE_ROWS][2];
    /* Copies: what a store may have changed would be read again after it. */
    const long lda = q->lda, ldb = q->ldb, ldc = q->ldc, k = q->k;
    const int ending = q->ending;
    R *out = c;
    if (q->adding) {
        UNROLL
        for (int r = 0; r < rows; r++) {
            sum[r][0] = LOAD(out);
            if (vecs == 2) { sum[r][1] = LOAD(out + A(LANES)); }
            out += ldc;
            OPAQUE(out);
        }
    } else {
        const A(vec) s0 = bias ? LOAD(bias) : VZERO;
        const A(vec) s1 = vecs == 2 && bias ? LOAD(bias + A(LANES)) : VZERO;
        UNROLL
        for (int r = 0; r < rows; r++) {
            sum[r][0] = s0;
            if (vecs == 2) { sum[r][1] = s1; }
        }
    }
    /* Four base pointers and the scaled index reach twelve rows without spilling addresses. */
    const R *base[4] = {a, a + 3 * lda, a + 6 * lda, a + 9 * lda};
    for (long p = 0; p < k; p++, b += ldb) {
        A(vec) b0 = LOAD(b), b1 = vecs == 2 ? LOAD(b + A(LANES)) : b0;
        UNROLL
        for (int r = 0; r < rows; r++) {
            A(vec) x = VSET(transposed ? a[p * lda + r] : base[r / 3][p + (r % 3) * lda]);
            sum[r][0] = VFMA(x, b0, sum[r][0]);
            if (vecs == 2) {
                sum[r][1] = VFMA(x, b1, sum[r][1]);
            }
        }
    }
    if (ending == FM_RELU) {
        UNROLL
        for (int r = 0; r < rows; r++) {
            sum[r][0] = VRELU(sum[r][0]);
            if (vecs == 2) { sum[r][1] = VRELU(sum[r][1]); }
        }
    } else if (ending == FM_RELU_GRAD) {
        UNROLL
        for (int r = 0; r < rows; r++) {
            sum[r][0] = sum[r][0] * VSTEP(LOAD(saved));
            if (vecs == 2) { sum[r][1] = sum[r][1] * VSTEP(LOAD(saved + A(LANES))); }
            saved += ldc;
            OPAQUE(saved);
        }
    }
    out = c;
    UNROLL
    for (int r = 0; r < rows; r++) {
        SAVE(out, sum[r][0]);
        if (vecs == 2) { SAVE(out + A(LANES), sum[r][1]); }
        out += ldc;
        OPAQUE(out);
    }
}

#ifdef VHALF
/* A tile of columns that fill half a vector at most, where half vectors take half the time.  The
 * other half, padding, becomes what a product with padding of zeros would be. */
typedef R A(half) __attribute__((vector_size(VECTOR / 2), aligned(sizeof(R)), may_alias));
INLINE void A(narrow_tile)(const int rows, const int transposed, const A(product) *q, const R *a,
                           const R *b, const R *bias, R *c, const R *saved)
{
    A(half) sum[TILE_ROWS];
    const long lda = q->lda, ldb = q->ldb, ldc = q->ldc, k = q->k;
    const int ending = q->ending;
    R *out = c;
    UNROLL
    for (int r = 0; r < rows; r++, out += ldc) {
        sum[r] = q->adding ? *(const A(half) *)out : bias ? *(const A(half) *)bias : (A(half)){0};
    }
    const R *base[4] = {a, a + 3 * lda, a + 6 * lda, a + 9 * lda};
    for (long p = 0; p < k; p++, b += ldb) {
        const A(half) b0 = *(const A(half) *)b;
        UNROLL
        for (int r = 0; r < rows; r++) {
            const R x = transposed ? a[p * lda + r] : base[r / 3][p + (r % 3) * lda];
            sum[r] = VHALF(fmadd)(VHALF(set1)(x), b0, sum[r]);
        }
    }
    out = c;
    UNROLL
    for (int r = 0; r < rows; r++) {
        A(vec) y = VHALF(extend)(sum[r]);
        if (ending == FM_RELU) {
            y = VRELU(y);
        } else if (ending == FM_RELU_GRAD) {
            y = y * VSTEP(LOAD(saved));
            saved += ldc;
            OPAQUE(saved);
        }
        SAVE(out, y);
        out += ldc;
        OPAQUE(out);
    }
}
#endif

/* One row of a times up to eight vectors of b: enough chains to keep the multipliers busy.  `panel`
 * points into every panel of b that they reach into, `ld` says how far its rows are apart. */
INLINE void A(row)(const int vecs, long k, const R *a, const R *const panel[], const long ld[],
                   const R *bias, A(vec) sum[])
{
    const R *b[8 * A(LANES) / A(PANEL) + 1];
    UNROLL
    for (int v = 0; v < vecs; v++) {
        sum[v] = bias ? LOAD(bias + v * A(LANES)) : VZERO;
        b[v / A(PER_PANEL)] = panel[v / A(PER_PANEL)];
    }
    for (long p = 0; p < k; p++) {
        A(vec) x = VSET(a[p]);
        UNROLL
        for (int v = 0; v < vecs; v++) {
            sum[v] = VFMA(x, LOAD(b[v / A(PER_PANEL)] + v % A(PER_PANEL) * A(LANES)), sum[v]);
        }
        UNROLL
        for (int v = 0; v < vecs; v += A(PER_PANEL)) {
            b[v / A(PER_PANEL)] += ld[v / A(PER_PANEL)];
        }
    }
}

typedef void (*A(tile_function))(const A(product) *, const R *, const R *, const R *, R *,
                                 const R *);
#define TILE(rows, vecs, transposed)                                                             \
    static void A(tile_##rows##_##vecs##_##transposed)(const A(product) *q, const R *a,          \
                                                       const R *b, const R *bias, R *c,          \
                                                       const R *saved)                           \
    {                                                                                            \
        A(tile)(rows, vecs, transposed, q, a, b, bias, c, saved);                                \
    }
#ifdef VHALF
#define NARROW(rows, transposed)                                                                 \
    static void A(tile_##rows##_0_##transposed)(const A(product) *q, const R *a, const R *b,     \
                                                const R *bias, R *c, const R *saved)             \
    {                                                                                            \
        A(narrow_tile)(rows, transposed, q, a, b, bias, c, saved);                               \
    }
#define NARROW_NAME(rows, transposed) A(tile_##rows##_0_##transposed)
#else
#define NARROW(rows, transposed)
#define NARROW_NAME(rows, transposed) A(tile_##rows##_1_##transposed)
#endif
#define FORM(rows, transposed)                                                                   \
    TILE(rows, 1, transposed) TILE(rows, 2, transposed) NARROW(rows, transposed)
#define FORM_NAMES(rows, transposed)                                                             \
    {NARROW_NAME(rows, transposed), A(tile_##rows##_1_##transposed),                             \
     A(tile_##rows##_2_##transposed)}
#define TILES_OF(rows) FORM(rows, 0) FORM(rows, 1)
#define NAMES_OF(rows) {FORM_NAMES(rows, 0), FORM_NAMES(rows, 1)}
TILES_OF(1) TILES_OF(2) TILES_OF(3) TILES_OF(4) TILES_OF(5) TILES_OF(6)
#if TILE_ROWS == 12
TILES_OF(7) TILES_OF(8) TILES_OF(9) TILES_OF(10) TILES_OF(11) TILES_OF(12)
#endif
/* [rows - 1][transposed][vectors, 0 for half of one] */
static const A(tile_function) A(tiles)[TILE_ROWS][2][3] = {
    NAMES_OF(1), NAMES_OF(2), NAMES_OF(3), NAMES_OF(4), NAMES_OF(5), NAMES_OF(6),
#if TILE_ROWS == 12
    NAMES_OF(7), NAMES_OF(8), NAMES_OF(9), NAMES_OF(10), NAMES_OF(11), NAMES_OF(12),
#endif
};
#undef TILE
#undef TILES_OF
#undef NAMES_OF
#undef FORM
#undef FORM_NAMES
#undef NARROW
#undef NARROW_NAME

/* Elements from the start of a matrix to its column j, and the distance of its rows there. */
INLINE const R *A(column)(fm_panels x, long j, long padded, long *ld)
{
    const long at = j - j % A(PANEL), width = padded - at < A(PANEL) ? padded - at : A(PANEL);
    *ld = x.ld ? x.ld : width;
    return (const R *)x.at + j / A(PANEL) * x.step + j % A(PANEL);
}

static void A(one_row)(long vectors, long padded, long k, const R *a, fm_panels b, const R *bias,
                       fm_panels c, int ending, const R *saved)
{
    for (long v0 = 0; v0 < vectors; v0 += 8) {
        const R *panel[8], *from = bias ? bias + v0 * A(LANES) : NULL;
        const long left = vectors - v0 < 8 ? vectors - v0 : 8;
        long ld[8];
        A(vec) sum[8];
        for (long v = 0; v < left; v += A(PER_PANEL)) {
            panel[v / A(PER_PANEL)] =
                A(column)(b, (v0 + v) * A(LANES), padded, &ld[v / A(PER_PANEL)]);
        }
#define ROW(n) case n: A(row)(n, k, a, panel, ld, from, sum); break;
        switch (left) {
            ROW(1) ROW(2) ROW(3) ROW(4) ROW(5) ROW(6) ROW(7) ROW(8)
        }
#undef ROW
        for (long v = 0; v < left; v++) {
            long unused;
            R *out = (R *)A(column)(c, (v0 + v) * A(LANES), padded, &unused);
            A(vec) y = sum[v];
            if (ending == FM_RELU) {
                y = VRELU(y);
            } else if (ending == FM_RELU_GRAD) {
                y = y * VSTEP(LOAD(saved + (out - (const R *)c.at)));
            }
            SAVE(out, y);
        }
    }
}

/* Elements of a that stay in the second-level cache while the panels of b pass by; steps along k
 * after which the sums go through memory, so that a panel stays in the nearer caches; columns of a
 * that are packed together where it is read transposed and its rows lie FAR apart, all in all. */
enum { A(SLAB) = 256 * 1024 / sizeof(R), A(DEPTH) = 2048 / sizeof(R), A(SIDE) = 4 * TILE_ROWS,
       A(FAR) = 768 * 1024 / sizeof(R) };

/* `columns` columns of a, one row of them behind the other. */
static void A(pack)(long k, long columns, const R *a, long lda, R *packed)
{
    if (columns == TILE_ROWS) {
        for (long p = 0; p < k; p++) {
            memcpy(packed + p * TILE_ROWS, a + p * lda, TILE_ROWS * sizeof(R));
        }
    } else {
        for (long p = 0; p < k; p++) {
            memcpy(packed + p * columns, a + p * lda, columns * sizeof(R));
        }
    }
}

/* Rows `first` to m of the product. */
static void A(gemm_from)(long first, int transposed, long m, long n, long k, const R *a, long lda,
                         fm_panels b, const R *bias, fm_panels c, int ending, const R *saved)
{
    const long vectors = (n + A(LANES) - 1) / A(LANES);
    const long line = FM_LINE / sizeof(R), padded = (n + line - 1) / line * line;
    R packed[A(SIDE) * A(DEPTH)] __attribute__((aligned(FM_LINE)));
    const long least = 4 * TILE_ROWS;
    /* A sum of no products is one empty block: its tiles still write the bias and the ending. */
    const long blocks = k > A(DEPTH) ? (k + A(DEPTH) - 1) / A(DEPTH) : 1;
    const long deep = k > 0 ? (k + blocks - 1) / blocks : 1, fitting = A(SLAB) / deep;
    const int packs = transposed && deep * lda >= A(FAR);
    const long slab = packs ? A(SIDE) : fitting < least ? least : fitting;
    for (long i0 = first; i0 < m; i0 += slab) {
        const long rows = m - i0 < slab ? m - i0 : slab;
        const long tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
        const long small = rows / tiles, larger = rows % tiles;
        for (long p0 = 0; p0 == 0 || p0 < k; p0 += deep) {
            const long left = k - p0;
            A(product) q = {left < deep ? left : deep, lda, 0, 0, left > deep ? FM_STORE : ending,
                            p0 > 0};
            const R *block = packs ? packed : transposed ? a + p0 * lda + i0 : a + i0 * lda + p0;
            const long step = packs ? q.k : transposed ? 1 : lda;
            for (long t = 0, i = 0; packs && t < tiles; t++) {
                A(pack)(q.k, small + (t < larger), a + p0 * lda + i0 + i, lda, packed + i * q.k);
                i += small + (t < larger);
            }
            for (long v = 0; v < vectors; v += 2) {
                const long columns = n - v * A(LANES);
                const int vecs = columns > A(LANES) ? 2 : columns > A(LANES) / 2;
                const R *from = A(column)(b, v * A(LANES), padded, &q.ldb);
                R *to = (R *)A(column)(c, v * A(LANES), padded, &q.ldc);
                from += p0 * q.ldb;
                to += i0 * q.ldc;
                const R *mask = saved + (to - (R *)c.at);
                const R *start = bias ? bias + v * A(LANES) : NULL;
                for (long t = 0, i = 0; t < tiles; t++) {
                    const long r = small + (t < larger);
                    q.lda = packs ? r : lda;
                    A(tiles)[r - 1][transposed][vecs](&q, block + i * step, from, start,
                                                          to + i * q.ldc, mask + i * q.ldc);
                    i += r;
                }
            }
        }
    }
}

static void A(gemm)(int transposed, long m, long n, long k, const void *a, long lda, fm_panels b,
                    const void *bias, fm_panels c, int ending, const void *saved)
{
    if (m == 1 && (!transposed || lda == 1)) {
        const long line = FM_LINE / sizeof(R);
        A(one_row)((n + A(LANES) - 1) / A(LANES), (n + line - 1) / line * line, k, a, b, bias, c,
                   ending, saved ? saved : c.at);
    } else {
        A(gemm_from)(0, transposed, m, n, k, a, lda, b, bias, c, ending, saved ? saved : c.at);
    }
}
#undef OPAQUE
