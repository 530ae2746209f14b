/* A plugin of QEMU's user mode that counts the instructions between two marks of the program it runs.
 *
 *     qemu-aarch64 -plugin count_instructions.so PROGRAM
 *
 * A mark is a getpgid() of a process that cannot exist, which does nothing: START begins a count, STOP prints it on
 * stderr as a line of `bench.py --progress`. Every thread counts. Built by edgecomp/devices/emulated.py with
 *
 *     cc -shared -fPIC -O2 -o count_instructions.so count_instructions.c
 *
 * QEMU's header is not in Debian's package, so what is used of it is declared here (plugin interface, version 1).
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define GETPGID_AARCH64 155
#define START 0x7ecc0001
#define STOP 0x7ecc0002

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_info_t;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

typedef void (*translate_callback)(qemu_plugin_id_t id, struct qemu_plugin_tb *block);
typedef void (*syscall_callback)(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t a1, uint64_t a2,
                                 uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, translate_callback callback);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, enum qemu_plugin_op operation,
                                                     void *target, uint64_t value);
extern void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, syscall_callback callback);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t executed, at_start;

/* A block of code is translated once and then adds its length each time it is executed. */
static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &executed,
                                             qemu_plugin_tb_n_insns(block));
}

static void syscall(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t process, uint64_t a2, uint64_t a3,
                    uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    if (number != GETPGID_AARCH64) {
        return;
    }
    if (process == START) {
        at_start = executed;
    } else if (process == STOP) {
        fprintf(stderr, "@ {\"stage\": \"count\", \"instructions\": %" PRIu64 "}\n", executed - at_start);
    }
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info,
                                                               int argc, char **argv)
{
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_vcpu_syscall_cb(id, syscall);
    return 0;
}
