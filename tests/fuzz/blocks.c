// SPDX-License-Identifier: BSD-3-Clause
// Large heap blocks of a libFuzzer program, as mappings of their own that end at a page which
// nobody may touch, and are gone when freed: an overrun and a use after free are faults, as with
// ASan's allocator. That writes an eighth of a block's size into its shadow for each allocation and
// each free, which took most of the time of targets whose buffers are megabytes nobody touches.
//
// The pages of the last few that malloc and realloc gave are kept for the next ones, as they are,
// and out of reach meanwhile: to be given new ones costs more than to use them.
//
// Linked with --wrap: our calls of malloc, calloc, realloc and free come here.
#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LARGE  (64u << 10)
#define BLOCKS 64 // at a time; those beyond are ASan's
#define KEPT   8  // freed ones whose pages are kept, the oldest first to be used again
#define PAGE   4096u
#define ALIGN  16u

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);

static struct {
    void *block; // NULL: free
    size_t size;
    void *mapping;
    size_t mapped;
    bool any_content; // it was not asked for with zeros
} blocks[BLOCKS];
static int block_count;
static struct {
    void *mapping; // NULL: none
    size_t mapped;
} kept[KEPT];
static unsigned kept_next; // its place

// A large block's place in the table, or a free one for NULL; -1: none.
static int
find(const void *block)
{
    for (int i = 0; i < BLOCKS; i++)
        if (blocks[i].block == block)
            return i;
    return -1;
}

// The oldest kept mapping of at least that size, and its size; NULL: none.
static uint8_t *
take_kept(size_t *mapped)
{
    for (unsigned n = 0; n < KEPT; n++) {
        unsigned i = (kept_next + n) % KEPT;
        uint8_t *at = kept[i].mapping;
        if (!at || kept[i].mapped < *mapped)
            continue;
        *mapped = kept[i].mapped;
        kept[i].mapping = NULL;
        int rc = mprotect(at, *mapped - PAGE, PROT_READ | PROT_WRITE);
        assert(rc == 0);
        return at;
    }
    return NULL;
}

static void
keep(void *mapping, size_t mapped)
{
    int rc = kept[kept_next].mapping ? munmap(kept[kept_next].mapping, kept[kept_next].mapped) : 0;
    rc += mprotect(mapping, mapped, PROT_NONE);
    assert(rc == 0);
    kept[kept_next].mapping = mapping;
    kept[kept_next].mapped = mapped;
    kept_next = (kept_next + 1) % KEPT;
}

static uint8_t *
map_new(size_t mapped)
{
    uint8_t *at = mmap(NULL, mapped, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at == MAP_FAILED || mprotect(at + mapped - PAGE, PAGE, PROT_NONE) < 0 ? NULL : at;
}

static void *
block_new(size_t size, bool any_content)
{
    int i = find(NULL);
    if (i < 0 || size > SIZE_MAX / 2)
        return NULL;
    size_t mapped = (size + PAGE - 1) / PAGE * PAGE + PAGE;
    uint8_t *at = any_content ? take_kept(&mapped) : NULL;
    if (!at && !(at = map_new(mapped)))
        return NULL;
    blocks[i].block = at + mapped - PAGE - (size + ALIGN - 1) / ALIGN * ALIGN;
    blocks[i].size = size;
    blocks[i].mapping = at;
    blocks[i].mapped = mapped;
    blocks[i].any_content = any_content;
    block_count++;
    return blocks[i].block;
}

void *
__wrap_malloc(size_t size)
{
    void *block = size >= LARGE ? block_new(size, true) : NULL;
    return block ? block : __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
    void *block = NULL;
    if (size > 0 && count <= SIZE_MAX / size && count * size >= LARGE)
        block = block_new(count * size, false);
    return block ? block : __real_calloc(count, size);
}

void
__wrap_free(void *block)
{
    int i = block_count > 0 && block ? find(block) : -1;
    if (i < 0) {
        __real_free(block);
        return;
    }
    if (blocks[i].any_content) {
        keep(blocks[i].mapping, blocks[i].mapped);
    } else {
        int rc = munmap(blocks[i].mapping, blocks[i].mapped);
        assert(rc == 0);
    }
    blocks[i].block = NULL;
    block_count--;
}

void *
__wrap_realloc(void *block, size_t size)
{
    int i = block_count > 0 && block ? find(block) : -1;
    if (i < 0 && size < LARGE)
        return __real_realloc(block, size);
    void *other = __wrap_malloc(size);
    size_t had = i >= 0 ? blocks[i].size : malloc_usable_size(block);
    if (!other || !block)
        return other;
    memcpy(other, block, had < size ? had : size);
    __wrap_free(block);
    return other;
}
