"""Names of exported models: the prefix of a model's C functions, macros and files, and its name in the other formats.

A name consists of lower-case words joined by single underscores. The model's functions are NAME_word, its macros NAME_WORDS, the
constants of its layers NAME__number_layer. A name has no double underscore and does not end in an underscore, and the word of a
function has no underscore. So two models with different names never define the same symbol, macro or file.
"""

import re
import unicodedata

from sparsemod.errors import InvalidInput

LONGEST = 40
PATTERN = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$"
DEFAULT = "network"
ALLOWED = f"lower-case words of a-z and 0-9 joined by single underscores, a letter first, at most {LONGEST} characters"

# A file NAME.h on the include path would hide these headers of C, POSIX, GCC, newlib, glibc and CMSIS.
_HEADERS = """
    aio alloca ar argp argz arm_acle arm_bf16 arm_cde arm_cmse arm_common_tables arm_const_structs arm_fp16 arm_math arm_mve arm_mve_types
    arm_neon assert byteswap cachel1_armv7 cmsis_armcc cmsis_armclang cmsis_compiler cmsis_gcc cmsis_iccarm cmsis_os cmsis_os2 cmsis_version
    complex core_cm0 core_cm0plus core_cm3 core_cm33 core_cm4 core_cm55 core_cm7 core_cm85 cpio cpuid crypt ctype curses devctl dirent dlfcn
    elf endian envlock envz err errno error execinfo fastmath fcntl features fenv float fmtmsg fnmatch fts ftw gconv getopt glob grp iconv
    ieeefp ifaddrs inttypes iso646 langinfo libgen limits link locale malloc math memory mm_malloc mntent monetary mpu_armv7 mpu_armv8 mqueue
    ndbm netdb newlib nl_types nss obstack omp paths pmu_armv8 poll printf pthread pty pwd reent regdef regex resolv sched search semaphore
    setjmp sgtty shadow signal spawn stab stdalign stdarg stdatomic stdbit stdbool stdckdint stddef stdfix stdint stdio stdlib stdnoreturn
    string strings syscall sysexits syslog tar termio termios tgmath threads time tz_context uchar ulimit unctrl unistd unwind utime utmp
    utmpx values varargs wait wchar wctype wordexp zconf zlib
"""
# Libraries that libNAME.a would hide, targets of make and CMake, and the project's own files.
_TAKEN = """
    all anl atomic bsd c clean crypt dl edit_cache example g gcc gcc_s gcov gloss gomp help install itm m main nn nosys nsl package package_source
    pthread rdimon rdpmon rebuild_cache resolv rt ssp stdc supc test util
"""
HEADERS, TAKEN = frozenset(_HEADERS.split()), frozenset(_TAKEN.split())


def checked_name(name: str, field: str = "name") -> str:
    """Return `name` if it is valid for a model. Raises InvalidInput with `field`."""
    if not re.fullmatch(PATTERN, name) or len(name) > LONGEST:
        raise InvalidInput(field, name, ALLOWED)
    if name in HEADERS:
        raise InvalidInput(field, name, f"another name: {name}.h would hide a system header of that name")
    if name in TAKEN or name.startswith("nn_"):
        raise InvalidInput(field, name, "another name: toolchains, build files or the kernels use it")
    return name


def model_name(title: str, number: int | None = None) -> str:
    """Return a model name for an experiment's title and trial number: "mnist_grosse_netze_7" for "MNIST, große Netze" and 7."""
    plain = unicodedata.normalize("NFKD", title.replace("ß", "ss").lower()).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    if not words[:1].isalpha():
        words = f"{DEFAULT}_{words}".rstrip("_")
    end = "" if number is None else f"_{number}"
    name = words[: LONGEST - len(end)].rstrip("_") + end
    if name in HEADERS or name in TAKEN or name.startswith("nn_"):
        name = f"model_{name}"[: LONGEST - len(end)].rstrip("_")
    return name
