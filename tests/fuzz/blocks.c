// SPDX-License-Identifier: BSD-3-Clause
// Large heap blocks of a libFuzzer program, as mappings of their own that end at a page which
// nobody may touch, and are gone when freed: an overrun and a use after free are faults, as with
// ASan's allocator. That writes an eighth of a block's size into its shadow for each allocation and
// each free, which took most of the time of targets whose buffers are megabytes nobody touches.
//
// Linked with --wrap: our calls of malloc, calloc, realloc and free come here.
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LARGE  (64u << 10)
#define BLOCKS 64 // at a time; those beyond are ASan's
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
} blocks[BLOCKS];
static int block_count;

// A large block's place in the table, or a free one for NULL; -1: none.
static int
find(const void *block)
{
    for (int i = 0; i < BLOCKS; i++)
        if (blocks[i].block == block)
            return i;
    return -1;
}

static void *
block_new(size_t size)
{
    int i = find(NULL);
    size_t whole = (size + PAGE - 1) / PAGE * PAGE;
    if (i < 0 || size > SIZE_MAX / 2)
        return NULL;
    uint8_t *at = mmap(NULL, whole + PAGE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED || mprotect(at + whole, PAGE, PROT_NONE) < 0)
        return NULL;
    blocks[i].block = at + whole - (size + ALIGN - 1) / ALIGN * ALIGN;
    blocks[i].size = size;
    blocks[i].mapping = at;
    blocks[i].mapped = whole + PAGE;
    block_count++;
    return blocks[i].block;
}

void *
__wrap_malloc(size_t size)
{
    void *block = size >= LARGE ? block_new(size) : NULL;
    return block ? block : __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
    void *block = NULL;
    if (size > 0 && count <= SIZE_MAX / size && count * size >= LARGE)
        block = block_new(count * size);
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
    int rc = munmap(blocks[i].mapping, blocks[i].mapped);
    assert(rc == 0);
    blocks[i].block = NULL;
    block_count--;
}

void *
__wrap_realloc(void *block, size_t size)
{
    int i = block_count > 0 && block ? find(block) : -1;
    if (i < 0)
        return __real_realloc(block, size);
    void *other = __wrap_malloc(size);
    if (other) {
        memcpy(other, block, blocks[i].size < size ? blocks[i].size : size);
        __wrap_free(block);
    }
    return other;
}
