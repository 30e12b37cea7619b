/* A machine with four Ascend cards, as libdcmi.so would tell it: two 910B3 joined by HCCS, the first with an MCU beside its NPU; a third
 * with an alarm and a double-bit error, whose power and PCI address nobody tells; and a 310P3 with DDR. MOCK_DCMI_TROUBLE makes the list
 * of cards `crash` or `hang`; MOCK_DCMI_INIT is what dcmi_init answers; MOCK_DCMI_CARDS how many of the cards are there (4). */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, NOT_SUPPORT = -8255, INVALID = -8001 };
typedef struct { char type[32], name[32], version[32]; unsigned aicores; } chip_info;
typedef struct { unsigned vendor, subvendor, device_id, subdevice; int domain; unsigned bus, device, function; char reserved[32]; } pcie_info;
typedef struct { unsigned long long size; unsigned mhz; unsigned long long used; int celsius; unsigned bandwidth; } hbm_info;
typedef struct { unsigned long long size, available; unsigned mhz; unsigned long page, pages, pages_free; unsigned busy; char reserved[60]; } ddr_info;
typedef struct { int enabled; unsigned single, twice, rest[6]; } ecc_info;

int dcmi_init(void) {
    const char *code = getenv("MOCK_DCMI_INIT");
    return code ? atoi(code) : OK;
}
int dcmi_get_card_list(int *count, int *cards, int room) {
    const char *trouble = getenv("MOCK_DCMI_TROUBLE"), *wanted = getenv("MOCK_DCMI_CARDS");
    if (trouble && !strcmp(trouble, "crash")) raise(SIGSEGV);
    if (trouble && !strcmp(trouble, "hang")) for (;;) pause();
    *count = wanted ? atoi(wanted) : 4;
    for (int card = 0; card < *count && card < room; card++) cards[card] = card;
    return OK;
}
int dcmi_get_device_num_in_card(int card, int *count) { *count = card == 0 ? 2 : 1; return OK; }
int dcmi_get_device_type(int card, int device, unsigned *type) { *type = card == 0 && device == 1; return OK; }
int dcmi_get_device_chip_info(int card, int device, chip_info *out) {
    memset(out, 0, sizeof *out);
    strcpy(out->name, card == 3 ? "310P3" : "910B3");
    return OK;
}
int dcmi_get_device_pcie_info_v2(int card, int device, pcie_info *out) {
    if (card == 2) return NOT_SUPPORT;
    *out = (pcie_info){.vendor = 0x19e5, .bus = 0xc1 + (unsigned)card};
    return OK;
}
int dcmi_get_device_logic_id(int *out, int card, int device) { *out = card; return OK; }
int dcmi_get_device_hbm_info(int card, int device, hbm_info *out) {
    *out = (hbm_info){.size = card == 3 ? 0 : 65536, .used = 3338};
    return OK;
}
int dcmi_get_device_memory_info_v3(int card, int device, ddr_info *out) {
    *out = (ddr_info){.size = 21527, .available = 20000};
    return card == 3 ? OK : NOT_SUPPORT;
}
int dcmi_get_device_power_info(int card, int device, int *out) { *out = 1028; return card == 2 ? NOT_SUPPORT : OK; }
int dcmi_get_device_temperature(int card, int device, int *out) { *out = 55; return OK; }
int dcmi_get_device_health(int card, int device, unsigned *out) { *out = card == 2 ? 2 : card == 3 ? 77 : 0; return OK; }
int dcmi_get_device_utilization_rate(int card, int device, int type, unsigned *out) { *out = 37; return type == 2 ? OK : INVALID; }
int dcmi_get_device_frequency(int card, int device, int type, unsigned *out) { *out = 1800; return type == 7 ? OK : INVALID; }
int dcmi_get_device_ecc_info(int card, int device, int type, ecc_info *out) {
    *out = (ecc_info){.enabled = 1, .twice = card == 2};
    return type == 2 && card != 3 ? OK : NOT_SUPPORT;
}
int dcmi_get_topo_info_by_device_id(int a, int b, int c, int d, int *out) { *out = a == 0 && c == 1 ? 3 : 1; return OK; }
int dcmi_get_driver_version(char *out, unsigned size) { strncpy(out, "25.2.0", size); return OK; }
