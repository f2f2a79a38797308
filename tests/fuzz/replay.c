// SPDX-License-Identifier: BSD-3-Clause
// Runs a fuzz target over files and folders instead of libFuzzer's inventions: the corpus as a unit
// test, with any compiler. Each file under a time limit; the one that fails was named last.
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX  (1 << 20)
#define TIMEOUT_S 20

static unsigned
run_file(const char *path)
{
    static uint8_t bytes[FILE_MAX];
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        exit(1);
    }
    size_t len = fread(bytes, 1, sizeof(bytes), f);
    fclose(f);
    fprintf(stderr, "%s\n", path);
    uint8_t *data = fuzz_exact(bytes, len);
    alarm(TIMEOUT_S);
    LLVMFuzzerTestOneInput(data, len);
    alarm(0);
    free(data);
    return 1;
}

static unsigned
run_folder(const char *path)
{
    char name[4096];
    unsigned count = 0;
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            count += run_file(name);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    return count;
}

int
main(int argc, char **argv)
{
    unsigned count = 0;
    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        struct stat st;
        bool is_folder = stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode);
        count += is_folder ? run_folder(argv[i]) : run_file(argv[i]);
    }
    printf("%u inputs\n", count);
    return count > 0 ? 0 : 1; // an empty corpus tests nothing
}
