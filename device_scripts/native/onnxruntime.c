/* ONNX Runtime through its C API, found when the program runs: neither a header nor the library is needed to build this.
 *
 * The API is one table of functions that only grows at its end ("struct OrtApi" of onnxruntime_c_api.h). What is used of
 * it is declared here at its place; the rest is left as room. Every release since 1.6 has all of it.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"

#define API_VERSION 6 /* that of release 1.6 */
#define LIBRARY "libonnxruntime.so"

typedef struct Handle Handle; /* of whatever kind: the API never shows what is behind one */
typedef Handle Status;        /* NULL when all is well */

typedef struct {
    void *room_0[2];
    const char *(*error_message)(const Status *status);
    Status *(*create_environment)(int log_level, const char *name, Handle **made);
    void *room_4[2];
    Status *(*disable_telemetry)(Handle *environment);
    Status *(*create_session)(Handle *environment, const char *path, Handle *options, Handle **made);
    void *room_8[1];
    Status *(*run)(Handle *session, Handle *options, const char *const *input_names, const Handle *const *inputs,
                   size_t input_count, const char *const *output_names, size_t output_count, Handle **outputs);
    Status *(*create_session_options)(Handle **made);
    void *room_11[13];
    Status *(*set_intra_op_threads)(Handle *options, int count);
    Status *(*set_inter_op_threads)(Handle *options, int count);
    void *room_26[4];
    Status *(*input_count)(const Handle *session, size_t *count);
    Status *(*output_count)(const Handle *session, size_t *count);
    void *room_32[1];
    Status *(*input_type)(const Handle *session, size_t index, Handle **made);
    Status *(*output_type)(const Handle *session, size_t index, Handle **made);
    void *room_35[1];
    Status *(*input_name)(const Handle *session, size_t index, Handle *allocator, char **made);
    Status *(*output_name)(const Handle *session, size_t index, Handle *allocator, char **made);
    void *room_38[11];
    Status *(*create_tensor)(const Handle *memory, void *data, size_t bytes, const int64_t *shape, size_t rank,
                             int type, Handle **made);
    void *room_50[1];
    Status *(*tensor_data)(Handle *tensor, void **data);
    void *room_52[3];
    Status *(*as_tensor_type)(const Handle *type, const Handle **tensor_type);
    void *room_56[4];
    Status *(*element_type)(const Handle *tensor_type, int *type);
    Status *(*rank)(const Handle *tensor_type, size_t *rank);
    Status *(*shape)(const Handle *tensor_type, int64_t *sizes, size_t rank);
    void *room_63[2];
    Status *(*type_and_shape)(const Handle *tensor, Handle **made);
    void *room_66[3];
    Status *(*create_cpu_memory)(int allocator_kind, int memory_kind, Handle **made);
    void *room_70[8];
    Status *(*default_allocator)(Handle **allocator);
    void *room_79[17];
    void (*release_tensor)(Handle *tensor);
    void *room_97[2];
    void (*release_type_and_shape)(Handle *tensor_type);
    void *room_100[30];
    Status *(*add_setting)(Handle *options, const char *key, const char *value);
} Api;

#define AT(member, place) _Static_assert(offsetof(Api, member) == (place) * sizeof(void *), #member)
AT(run, 9);
AT(set_intra_op_threads, 24);
AT(input_name, 36);
AT(create_tensor, 49);
AT(as_tensor_type, 55);
AT(create_cpu_memory, 69);
AT(default_allocator, 78);
AT(release_tensor, 96);
AT(release_type_and_shape, 99);
AT(add_setting, 130);

typedef struct {
    const Api *(*api)(uint32_t version);
    const char *(*version)(void);
} ApiBase;

static const Api *api;
static Handle *session;
static Handle *inputs[MAX_TENSORS], *outputs[MAX_TENSORS];
static const char *input_names[MAX_TENSORS], *output_names[MAX_TENSORS];

static void check(Status *status)
{
    if (status != NULL) {
        fail("bad-model", "ONNX Runtime: %s", api->error_message(status));
    }
}

void runtime_open(Model *model)
{
    setenv("ORT_DISABLE_TELEMETRY", "1", 1);
    void *library = dlopen("./" LIBRARY, RTLD_NOW);
    if (library == NULL) {
        library = dlopen(LIBRARY, RTLD_NOW);
    }
    if (library == NULL) {
        fail("no-runtime", "%s", dlerror());
    }
    const ApiBase *(*base)(void);
    *(void **)&base = dlsym(library, "OrtGetApiBase");
    api = base == NULL ? NULL : base()->api(API_VERSION);
    if (api == NULL) {
        fail("no-runtime", "%s has no API of version %d", LIBRARY, API_VERSION);
    }
    model->name = "onnxruntime";
    snprintf(model->version, sizeof model->version, "%s", base()->version());
}

static void describe(Tensor *tensor, const Handle *type)
{
    int code = 0;
    size_t rank = 0;
    check(api->element_type(type, &code));
    check(api->rank(type, &rank));
    tensor->type = type_of_onnx(code);
    if (tensor->type == NULL || rank > MAX_RANK) {
        fail("bad-model", "%s has a type (%d) or a rank (%zu) that the native runner does not take", tensor->name, code,
             rank);
    }
    tensor->rank = (int)rank;
    check(api->shape(type, tensor->shape, rank));
    tensor->dynamic = 0;
    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] < 0) {
            tensor->shape[i] = tensor->dynamic = 1;
        }
    }
}

static void describe_declared(Tensor *tensor, Handle *type, const char *name)
{
    const Handle *tensor_type = NULL;
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    check(api->as_tensor_type(type, &tensor_type));
    if (tensor_type == NULL) {
        fail("bad-model", "%s is no tensor", name);
    }
    describe(tensor, tensor_type);
}

void runtime_load(Model *model, const char *path, int threads, int exact)
{
    Handle *environment = NULL, *options = NULL, *allocator = NULL, *type = NULL;
    size_t input_count = 0, output_count = 0;
    check(api->create_environment(3, "edgecomp", &environment)); /* 3: errors only */
    check(api->disable_telemetry(environment));
    check(api->create_session_options(&options));
    check(api->set_intra_op_threads(options, threads));
    check(api->set_inter_op_threads(options, 1));
    if (exact) {
        check(api->add_setting(options, "session.x64quantprecision", "1"));
    }
    check(api->create_session(environment, path, options, &session));
    check(api->default_allocator(&allocator));
    check(api->input_count(session, &input_count));
    check(api->output_count(session, &output_count));
    if (input_count > MAX_TENSORS || output_count > MAX_TENSORS) {
        fail("bad-model", "more than %d inputs or outputs", MAX_TENSORS);
    }
    model->inputs = (int)input_count;
    model->outputs = (int)output_count;
    for (int i = 0; i < model->inputs; i++) {
        check(api->input_name(session, (size_t)i, allocator, (char **)&input_names[i]));
        check(api->input_type(session, (size_t)i, &type));
        describe_declared(&model->input[i], type, input_names[i]);
    }
    for (int i = 0; i < model->outputs; i++) {
        check(api->output_name(session, (size_t)i, allocator, (char **)&output_names[i]));
        check(api->output_type(session, (size_t)i, &type));
        describe_declared(&model->output[i], type, output_names[i]);
    }
}

void runtime_bind(Model *model)
{
    Handle *memory = NULL;
    check(api->create_cpu_memory(0, 0, &memory)); /* OrtDeviceAllocator, OrtMemTypeDefault */
    for (int i = 0; i < model->inputs; i++) {
        Tensor *tensor = &model->input[i];
        size_t bytes = (size_t)elements(tensor) * tensor->type->bytes;
        check(api->create_tensor(memory, tensor->data, bytes, tensor->shape, (size_t)tensor->rank, tensor->type->onnx,
                                 &inputs[i]));
    }
}

void runtime_run(Model *model)
{
    for (int i = 0; i < model->outputs; i++) { /* as Python's binding: outputs are allocated inside the call */
        if (outputs[i] != NULL) {
            api->release_tensor(outputs[i]);
            outputs[i] = NULL;
        }
    }
    check(api->run(session, NULL, input_names, (const Handle *const *)inputs, (size_t)model->inputs, output_names,
                   (size_t)model->outputs, outputs));
}

void runtime_outputs(Model *model)
{
    for (int i = 0; i < model->outputs; i++) {
        Handle *type = NULL;
        check(api->type_and_shape(outputs[i], &type));
        describe(&model->output[i], type);
        api->release_type_and_shape(type);
        check(api->tensor_data(outputs[i], &model->output[i].data));
    }
}
