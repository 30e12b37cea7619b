/* A machine with two cards, as libnvidia-ml.so.1 would tell it: an H800 without a power sensor, and a card of a model
 * nobody knows with three uncorrected ECC errors. MOCK_NVML_CARDS makes it a machine of so many H800, at most eight,
 * MOCK_NVML_MODEL calls them otherwise. MOCK_NVML_INIT is the code nvmlInit answers, 0 (success) by default; MOCK_NVML_TROUBLE
 * makes a read `crash` or `hang`, or `print` what does not belong there; MOCK_NVML_GATE is a pipe that nvmlInit waits for;
 * MOCK_NVML_XID is the error the driver tells of the first card, once; MOCK_NVML_PROCESSES is how many processes run on the first
 * card, each with one MiB more than the one before. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, TIMEOUT = 10 };
typedef struct card { const char *name, *uuid; unsigned long long memory, used, ecc; unsigned utilisation, power, celsius; } card;
typedef struct { unsigned long long total, free, used; } memory_info;
typedef struct { unsigned gpu, memory; } utilisation_rates;
typedef struct { char legacy[16]; unsigned domain, bus, device, pci_device_id, pci_subsystem_id; char bus_id[32]; } pci_info;
typedef struct { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; } process;
typedef struct { card *device; unsigned long long type, data; unsigned gpu_instance, compute_instance; } event;

#define H800(number) {"NVIDIA H800", "GPU-" number, 85520809984ull, 1073741824ull, 0, 37, 0, 41}
static card odd[] = {H800("0"), {"NVIDIA Mystery", "GPU-1", 17179869184ull, 0, 3, 0, 65123, 30}};
static card alike[] = {H800("0"), H800("1"), H800("2"), H800("3"), H800("4"), H800("5"), H800("6"), H800("7")};
static card *cards = odd;

int nvmlInitWithFlags(unsigned flags) {
    const char *gate = getenv("MOCK_NVML_GATE"), *code = getenv("MOCK_NVML_INIT");
    if (gate) fclose(fopen(gate, "r"));
    return code ? atoi(code) : SUCCESS;
}
int nvmlShutdown(void) { return SUCCESS; }
int nvmlSystemGetDriverVersion(char *out, unsigned size) { strncpy(out, "550.54.15", size); return SUCCESS; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 12040; return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) {
    const char *trouble = getenv("MOCK_NVML_TROUBLE");
    if (trouble && !strcmp(trouble, "crash")) raise(SIGSEGV);
    if (trouble && !strcmp(trouble, "hang")) for (;;) pause();
    if (trouble && !strcmp(trouble, "print")) { printf("{}\n"); fflush(stdout); }
    const char *wanted = getenv("MOCK_NVML_CARDS");
    if (wanted) cards = alike;
    *count = wanted ? (unsigned)atoi(wanted) : 2;
    return SUCCESS;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, card **out) { *out = &cards[index]; return SUCCESS; }
int nvmlDeviceGetIndex(card *c, unsigned *index) { *index = (unsigned)(c - cards); return SUCCESS; }
int nvmlDeviceGetName(card *c, char *out, unsigned size) {
    const char *wanted = getenv("MOCK_NVML_MODEL");
    strncpy(out, wanted ? wanted : c->name, size);
    return SUCCESS;
}
int nvmlDeviceGetUUID(card *c, char *out, unsigned size) { strncpy(out, c->uuid, size); return SUCCESS; }
int nvmlDeviceGetPciInfo_v3(card *c, pci_info *out) {
    memset(out, 0, sizeof *out);
    out->pci_device_id = 0x232410de;
    out->bus = 0x10 + (unsigned)(c - cards);
    snprintf(out->bus_id, sizeof out->bus_id, "00000000:%02X:00.0", out->bus);
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo(card *c, memory_info *out) { out->total = c->memory; out->used = c->used; return SUCCESS; }
int nvmlDeviceGetUtilizationRates(card *c, utilisation_rates *out) { out->gpu = c->utilisation; return SUCCESS; }
int nvmlDeviceGetPowerUsage(card *c, unsigned *out) { *out = c->power; return c->power ? SUCCESS : NOT_SUPPORTED; }
int nvmlDeviceGetTemperature(card *c, int sensor, unsigned *out) { *out = c->celsius; return SUCCESS; }
int nvmlDeviceGetClockInfo(card *c, int clock, unsigned *out) { *out = clock == 1 ? 1980 : 2619; return SUCCESS; }
int nvmlDeviceGetCurrPcieLinkGeneration(card *c, unsigned *out) { *out = 5; return SUCCESS; }
int nvmlDeviceGetCurrPcieLinkWidth(card *c, unsigned *out) { *out = 16; return SUCCESS; }
int nvmlDeviceGetComputeMode(card *c, int *out) { *out = 0; return SUCCESS; }
int nvmlDeviceGetEccMode(card *c, int *current, int *pending) { *current = *pending = 1; return SUCCESS; }
int nvmlDeviceGetNvLinkState(card *c, unsigned link, int *out) { *out = 1; return link < 8 ? SUCCESS : INVALID_ARGUMENT; }
int nvmlDeviceGetP2PStatus(card *one, card *other, int capability, int *out) { *out = 0; return SUCCESS; }
int nvmlDeviceGetComputeRunningProcesses_v3(card *c, unsigned *count, process *out) {
    const char *wanted = getenv("MOCK_NVML_PROCESSES");
    unsigned room = *count, running = wanted && c == cards ? (unsigned)atoi(wanted) : 0;
    *count = running;
    if (running > room) return INSUFFICIENT_SIZE;
    for (unsigned at = 0; at < running; at++) out[at] = (process){1000 + at, (at + 1ull) << 20, ~0u, ~0u};
    return SUCCESS;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(card *c, unsigned *count, process *out) { *count = 0; return SUCCESS; }
int nvmlSystemGetProcessName(unsigned pid, char *out, unsigned size) {
    snprintf(out, size, "/usr/bin/train-%u --token=s3cret", pid);
    return SUCCESS;
}
int nvmlDeviceGetTotalEccErrors(card *c, int type, int counter, unsigned long long *out) { *out = c->ecc; return SUCCESS; }
int nvmlEventSetCreate(int **set) { static int one; *set = &one; return SUCCESS; }
int nvmlDeviceRegisterEvents(card *c, unsigned long long types, int *set) { return types == 8 ? SUCCESS : NOT_SUPPORTED; }
int nvmlEventSetWait_v2(int *set, event *out, unsigned milliseconds) {
    const char *xid = getenv("MOCK_NVML_XID");
    if (!xid || (*set)++) return TIMEOUT;
    *out = (event){&cards[0], 8, strtoull(xid, NULL, 10), 0, 0};
    return SUCCESS;
}
/* nvmlDeviceGetRemappedRows and nvmlDeviceGetMigMode are missing, as in an old driver. */
