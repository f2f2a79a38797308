// SPDX-License-Identifier: BSD-3-Clause
// Finds options among the words of a command line, applies them by the table, and prints that table
// as the help of one command.
#include "cli/options.h"

#include "base/log.h"
#include "cli/options_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HELP_COLUMN 28

// The text behind one dash or two, NULL for a word that is no option ("-" and "--" included).
static const char *
option_text(const char *word)
{
    if (word[0] != '-' || word[1] == '\0')
        return NULL;
    const char *text = word + (word[1] == '-' ? 2 : 1);
    return *text == '\0' ? NULL : text;
}

static bool
spelled(const char *spelling, const char *text, size_t len)
{
    const char *name = option_text(spelling);
    return strlen(name) == len && memcmp(name, text, len) == 0;
}

static const struct cli_option *
find_option(enum command_id command, const char *text)
{
    size_t len = strcspn(text, "=");
    for (size_t i = 0; i < cli_option_count; i++) {
        const struct cli_option *o = &cli_options[i];
        if (!(o->commands & command))
            continue;
        if (spelled(o->spelling, text, len) || (o->short_form && !strcmp(o->short_form, text)))
            return o;
    }
    return NULL;
}

_Noreturn static void
die_unknown(enum command_id command, const char *word)
{
    char accepted[512] = "";
    for (size_t i = 0; i < cli_option_count; i++) {
        if (!(cli_options[i].commands & command))
            continue;
        strncat(accepted, cli_options[i].spelling, sizeof(accepted) - strlen(accepted) - 1);
        strncat(accepted, ", ", sizeof(accepted) - strlen(accepted) - 1);
    }
    die_usage("%s: unknown option (accepted: %s--help)", word, accepted);
}

// Applies the option at argv[0]; gives the words it took, 1 or 2.
static int
apply(struct settings *s, const struct cli_option *o, char **argv)
{
    const char *equals = strchr(argv[0], '=');
    const char *value = equals ? equals + 1 : o->value ? argv[1] : NULL;
    struct error err;

    if (equals && !o->value)
        die_usage("%s: takes no value", o->spelling);
    if (o->value && !value)
        die_usage("%s: value missing (accepted: %s %s)", o->spelling, o->spelling, o->value);
    int rc = o->set(s, value, &err);
    if (rc == -EINVAL)
        die_usage("%s", err.text);
    if (rc < 0)
        die(&err);
    return o->value && !equals ? 2 : 1;
}

// "-vv" and longer.
static bool
is_repeated_v(const char *word)
{
    return word[0] == '-' && word[1] == 'v' && strspn(word + 1, "v") == strlen(word + 1);
}

void
settings_init(struct settings *s)
{
    memset(s, 0, sizeof(*s));
    guest_config_init(&s->guest);
}

void
settings_fini(struct settings *s)
{
    guest_config_fini(&s->guest);
}

char **
settings_parse(struct settings *s, const struct command *command, char **argv)
{
    while (*argv) {
        const char *text = option_text(*argv);
        if (!text)
            return strcmp(*argv, "--") == 0 ? argv + 1 : argv;
        if (strcmp(text, "help") == 0 || strcmp(text, "h") == 0) {
            help_print(stdout, command);
            finish_output();
            exit(EXIT_SUCCESS);
        }
        if (is_repeated_v(*argv) && find_option(command->id, "v")) {
            for (size_t i = strlen(text); i > 0; i--)
                settings_raise_verbosity(s);
            argv++;
            continue;
        }
        const struct cli_option *o = find_option(command->id, text);
        if (!o)
            die_unknown(command->id, *argv);
        argv += apply(s, o, argv);
    }
    return argv;
}

void
settings_parse_words(struct settings *s, const struct command *command, char **argv, size_t min,
                     size_t max, const char *wanted, const char *words[WORDS_MAX])
{
    size_t have = 0;
    for (bool has_options = true; *argv; words[have++] = *argv++) {
        char **rest = has_options ? settings_parse(s, command, argv) : argv;
        has_options = has_options && (rest == argv || strcmp(rest[-1], "--") != 0);
        argv = rest;
        if (!*argv)
            break;
        if (have == max)
            die_usage("%s: unexpected word '%s' (accepted: %s)", command->name, *argv, wanted);
    }
    if (have < min)
        die_usage("%s: too few words (accepted: %s)", command->name, wanted);
}

const char *
settings_control(const struct settings *s, bool *by_name)
{
    *by_name = !s->control && (s->has_name || s->xml);
    return s->control && strcmp(s->control, "off") != 0 ? s->control : NULL;
}

// Applies what is at argv[0] when it is this option; gives the words taken, 0 when it is another.
static int
apply_if(struct settings *s, const struct cli_option *o, char **argv)
{
    const char *text = option_text(argv[0]);
    return text && spelled(o->spelling, text, strcspn(text, "=")) ? apply(s, o, argv) : 0;
}

// The same for a -chardev as QEMU writes it, that a channel refers to: others are QEMU's.
static int
apply_if_referred(struct settings *s, char **argv)
{
    const struct cli_option *o = &cli_options[OPTION_CHARDEV];
    const char *text = option_text(argv[0]);
    char id[CHARDEV_ID_MAX + 1];
    if (!text || strcmp(text, option_text(o->spelling)) != 0 || !argv[1])
        return 0;
    if (!chardev_find_id(argv[1], id) || !guest_config_refers_to_chardev(&s->guest, id))
        return 0;
    return apply(s, o, argv);
}

void
settings_take_channels(struct settings *s, char **argv)
{
    char **from = argv, **kept = argv;
    int taken;
    while (*from) {
        if ((taken = apply_if(s, &cli_options[OPTION_VMCHANNEL], from)) > 0 ||
            (taken = apply_if(s, &cli_options[OPTION_VMCHANNEL_IN], from)) > 0)
            from += taken;
        else
            *kept++ = *from++;
    }
    *kept = NULL;
    // Now that all references are known.
    from = kept = argv;
    while (*from) {
        if ((taken = apply_if_referred(s, from)) > 0)
            from += taken;
        else
            *kept++ = *from++;
    }
    *kept = NULL;
}

void
settings_need_channel(struct settings *s, const struct command *command)
{
    struct error err;
    if (s->guest.channel_count == 0)
        die_usage("%s: no channel given (accepted: -vmchannel PORT:DEVICE, as in "
                  "-vmchannel 600:unix:/some/path)",
                  command->name);
    if (guest_config_finish(&s->guest, &err) < 0)
        die_usage("%s", err.text);
}

void
settings_check_link(const struct settings *s, enum link_kind kind)
{
    for (size_t i = 0; i < s->guest.channel_count; i++)
        if (s->guest.channels[i].inward && !link_kind_is_frames(kind))
            die_usage("-vmchannel-in: the host cannot begin on a link without frames (accepted: "
                      "--link stream, message, tap, packet or vhost-user)");
}

void
settings_apply_verbosity(const struct settings *s, int quiet_level)
{
    int level = s->verbosity < 0 ? LOG_ERROR : quiet_level + s->verbosity;
    log_set_level(level > LOG_TRACE ? LOG_TRACE : (enum log_level)level);
}

static void
print_option(FILE *out, const char *head, const char *help)
{
    int width = fprintf(out, "  %s", head);
    if (width > HELP_COLUMN - 2) {
        fputc('\n', out);
        width = 0;
    }
    for (;;) {
        size_t len = strcspn(help, "\n");
        fprintf(out, "%*s%.*s\n", HELP_COLUMN - width, "", (int)len, help);
        if (help[len] == '\0')
            return;
        help += len + 1;
        width = 0;
    }
}

void
help_print(FILE *out, const struct command *command)
{
    fprintf(out, "usage: vmchannel %s%s%s\n\n%s\n\noptions:\n", command->name,
            command->synopsis[0] ? " " : "", command->synopsis, command->text);
    for (size_t i = 0; i < cli_option_count; i++) {
        const struct cli_option *o = &cli_options[i];
        if (!(o->commands & command->id))
            continue;
        char head[64];
        snprintf(head, sizeof(head), "%s%s%s%s%s%s", o->short_form ? "-" : "",
                 o->short_form ? o->short_form : "", o->short_form ? ", " : "", o->spelling,
                 o->value ? " " : "", o->value ? o->value : "");
        print_option(out, head, o->help);
    }
    print_option(out, "-h, --help", "print this");
}
