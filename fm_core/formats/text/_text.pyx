"""Text to numbers: lines of libsvm, and delimited cells, each in one pass over a chunk.

A chunk is cut anywhere; what is behind its last whole line is left to the caller, who
puts it before the next chunk. Numbers are rounded to double as Python's float() does, then
to float32. Nothing is allocated in the loops: separators are counted first.

Both parsers stop at the first line that is wrong and say where; the caller may go on
behind it. `faulty`: a number of `TextFault`, or 0; `fault_line`: that line, counted from
`first_line`; `fault_at`: the text that is wrong, or `fault_number`: how many cells there were.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.math cimport isfinite
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memchr, memcmp

import numpy as np

cdef extern from "Python.h":
    double PyOS_string_to_double(const char* text, char** end, void* overflow) except? -1.0

__all__ = ["Cells", "LibsvmRows", "number_in"]

# Repeated by fm_core.formats.text.parse.TextFault.
cdef enum Fault:
    FINE = 0
    LABEL = 1
    LABEL_BINARY = 2
    LABEL_MISSING = 3
    PAIR = 4
    KEY = 5
    RAGGED = 6
    QUOTE = 7
    QUOTE_OPEN = 8
    RETURN = 9
    STRAY_QUOTE = 10
    WEIGHT = 11
    WEIGHT_MISSING = 12

# Every smaller integer is exact as double; a key that is not is beyond any feature_dim.
cdef uint64_t EXACT = <uint64_t>1 << 53
cdef int64_t MOST = <int64_t>1 << 40
cdef int64_t MOST_BYTES = (<int64_t>1 << 31) - 1

# Those up to 10^22 are exact as double, the others the nearest one.
cdef double[309] POWERS
POWERS[:] = [float(f"1e{i}") for i in range(309)]

# A double less and more by what a product of two rounded numbers, itself rounded, can be off.
cdef double LESS = 1 - 2.0**-50, MORE = 1 + 2.0**-50

cdef extern from "digits.h":
    enum:
        FM_HAS_DIGITS
        FM_PAIR_BYTES
    int64_t fm_count(const char* at, int64_t size, char wanted) noexcept nogil
    const char* fm_read_pair(
        const char* at, int64_t* key, float* value, const double* powers, uint64_t exact
    ) noexcept nogil


cdef inline bint is_space(char c) noexcept nogil:
    return c == 32 or c == 9 or c == 13 or c == 11 or c == 12


cdef double slow_number(const char* text, int64_t length) noexcept with gil:
    """Read a number whose grammar has been checked, as float() does."""
    try:
        # A NUL byte follows the content of every bytes object.
        return PyOS_string_to_double(PyBytes_AS_STRING(PyBytes_FromStringAndSize(text, length)), NULL, NULL)
    except (ValueError, MemoryError):
        return float("nan")


cdef bint read_number(const char* at, const char* end, float* out) noexcept nogil:
    """Read the number that is all of a text; False if it is none, or not finite as float32."""
    cdef const char* begin = at
    cdef uint64_t mantissa = 0
    cdef int64_t exponent = 0, written = 0
    cdef int digits = 0, kept = 0
    cdef bint negative = False, below = False
    cdef double value
    if at < end and (at[0] == c"-" or at[0] == c"+"):
        negative = at[0] == c"-"
        at += 1
    while at < end and c"0" <= at[0] <= c"9":
        digits += 1
        if kept < 19:
            mantissa = mantissa * 10 + (at[0] - c"0")
            if mantissa:
                kept += 1
        else:
            kept += 1
            exponent += 1
        at += 1
    if at < end and at[0] == c".":
        at += 1
        while at < end and c"0" <= at[0] <= c"9":
            digits += 1
            if kept < 19:
                mantissa = mantissa * 10 + (at[0] - c"0")
                exponent -= 1
                if mantissa:
                    kept += 1
            else:
                kept += 1
            at += 1
    if digits == 0:
        return False
    if at < end and (at[0] == c"e" or at[0] == c"E"):
        at += 1
        if at < end and (at[0] == c"-" or at[0] == c"+"):
            below = at[0] == c"-"
            at += 1
        if at == end:
            return False
        while at < end and c"0" <= at[0] <= c"9":
            if written < 100000:
                written = written * 10 + (at[0] - c"0")
            at += 1
        exponent += -written if below else written
    if at != end:
        return False
    if kept <= 19 and mantissa <= EXACT and -22 <= exponent <= 22:
        # Both are exact as double, so the one operation rounds correctly (Clinger, PLDI 1990).
        value = <double>mantissa
        value = value / POWERS[-exponent] if exponent < 0 else value * POWERS[exponent]
    else:
        # Digits beyond 19 and rounding move it by less than 2^-50 of itself. Where that decides nothing, it is right.
        value = NAN
        if mantissa == 0:
            value = 0
        elif -308 <= exponent <= 308:
            value = <double>mantissa
            value = value / POWERS[-exponent] if exponent < 0 else value * POWERS[exponent]
        # Denormal doubles have fewer digits.
        if not (value == 0 or (value > 1e-290 and <float>(value * LESS) == <float>(value * MORE))):
            value = slow_number(begin, end - begin)
            negative = False
    if negative:
        value = -value
    out[0] = <float>value
    return isfinite(out[0])


cdef bint read_word(const char* at, const char* end, float* out) noexcept nogil:
    """Read true or false, as 1 or 0."""
    if end - at == 4 and (memcmp(at, b"true", 4) == 0 or memcmp(at, b"True", 4) == 0 or memcmp(at, b"TRUE", 4) == 0):
        out[0] = 1
        return True
    if end - at == 5 and (memcmp(at, b"false", 5) == 0 or memcmp(at, b"False", 5) == 0 or memcmp(at, b"FALSE", 5) == 0):
        out[0] = 0
        return True
    return False


def number_in(bytes text not None):
    """Return the number, true or false that is all of a text but blanks around it, as a column of a table has them.

    Returns
    -------
    number : float
        Of float32; NaN if it is none, or not finite.
    """
    cdef const char* at = PyBytes_AS_STRING(text)
    cdef const char* end = at + len(text)
    cdef float number
    while at < end and is_space(at[0]):
        at += 1
    while at < end and is_space(end[-1]):
        end -= 1
    return number if read_number(at, end, &number) or read_word(at, end, &number) else NAN


cdef class LibsvmRows:
    """Lines ``[label[:weight]] key:value key:value ... [# comment]``, as CSR.

    Where labels are wanted, the first line says whether all have weights. Lines without labels look like that too, if
    their first key is taken for a label: `is_doubtful` says whether all lines so far do.

    Parameters
    ----------
    data : bytes
    final : bool
        Whether the data ends here, so that its last line is whole even without a newline.
    first_line : int
        The number of the first line.
    feature_dim : int
        Keys are below it.
    first_key : int
        The key of feature 0: 0, or 1 as some writers count.
    labels : {"binary", "real", "optional", "none"}
        Whether every line must begin with one; "optional": those of the first line decide. With "none" a line
        may begin with one, which has to be a number, and is left out.
    weights : bool or None
        Whether labels have weights; None: those of the first line decide.

    Attributes
    ----------
    consumed : int
        Bytes of whole lines, the one at fault included.
    next_line : int
        The number of the line behind them.
    labels, weights : ndarray of float32, shape (n_rows,), or None
    is_doubtful : bool
        Whether the labels and weights of all lines could be first features.
    indptr, indices, values : ndarray of int64, int32, float32
    lines : ndarray of int64, shape (n_rows,)
        The line of each row.
    ascending : bool
        Whether keys increase within each row.
    """

    cdef readonly int64_t consumed, next_line, n_rows
    cdef readonly bint ascending
    cdef readonly bint is_doubtful
    cdef readonly object labels, weights, indptr, indices, values, lines
    cdef readonly int faulty
    cdef readonly int64_t fault_line, fault_number
    cdef readonly object fault_at
    cdef const char* _wrong
    cdef int64_t _wrong_length
    cdef bint _with_labels, _optional
    cdef int _with_weights   # -1: not known yet
    cdef float[::1] _weights

    def __init__(
        self, bytes data, *, bint final, int64_t first_line, int64_t feature_dim, int64_t first_key, labels,
        weights=None,
    ):
        cdef const char* begin = PyBytes_AS_STRING(data)
        cdef int64_t most_rows = fm_count(begin, len(data), c"\n") + 1
        cdef int64_t most_keys = fm_count(begin, len(data), c":") + 1
        cdef float[::1] label_view
        cdef int64_t[::1] indptr_view
        cdef int32_t[::1] index_view
        cdef float[::1] value_view
        cdef int64_t[::1] line_view
        cdef int64_t size = len(data), n_keys
        cdef bint binary = labels == "binary"
        found = np.empty(most_rows, np.float32)
        indptr = np.zeros(most_rows + 1, np.int64)
        indices = np.empty(most_keys, np.int32)
        values = np.empty(most_keys, np.float32)
        lines = np.empty(most_rows, np.int64)
        label_view, indptr_view, index_view, value_view, line_view = found, indptr, indices, values, lines
        weight_room = np.empty(most_rows if weights is None or weights else 0, np.float32)
        self._weights = weight_room
        self._with_weights = -1 if weights is None else weights
        self.is_doubtful = True
        self._with_labels = labels != "none"
        self._optional = labels == "optional"
        self.ascending = True
        self.next_line = first_line
        with nogil:
            self.parse(
                begin, begin + size, final, feature_dim, first_key, binary,
                label_view, indptr_view, index_view, value_view, line_view,
            )  # fmt: skip
        if self.faulty and self._wrong != NULL:
            self.fault_at = self._wrong[:self._wrong_length]
        n_keys = indptr[self.n_rows]
        self.labels = found[:self.n_rows] if self._with_labels else None
        self.weights = weight_room[:self.n_rows] if self._with_labels and self._with_weights == 1 else None
        self.indptr = indptr[:self.n_rows + 1]
        self.indices = indices[:n_keys]
        self.values = values[:n_keys]
        self.lines = lines[:self.n_rows]

    cdef void parse(
        self, const char* begin, const char* end, bint final, int64_t feature_dim, int64_t first_key, bint binary,
        float[::1] labels, int64_t[::1] indptr, int32_t[::1] indices, float[::1] values, int64_t[::1] lines,
    ) noexcept nogil:
        cdef const char* at = begin
        cdef const char* line_end
        cdef int64_t n_keys = 0
        cdef int found
        while at < end and not self.faulty:
            line_end = <const char*>memchr(at, c"\n", end - at)
            if line_end == NULL:
                if not final:
                    break
                line_end = end
            found = self.parse_line(
                at, line_end, feature_dim, first_key, binary, labels, indices, values, &n_keys, end - FM_PAIR_BYTES
            )
            if found < 0:
                self.fault_line = self.next_line
                self.faulty = -found
            elif found:
                lines[self.n_rows] = self.next_line
                self.n_rows += 1
                indptr[self.n_rows] = n_keys
            at = line_end + 1 if line_end < end else end
            self.next_line += 1
        self.consumed = at - begin

    cdef int parse_line(
        self, const char* at, const char* end, int64_t feature_dim, int64_t first_key, bint binary,
        float[::1] labels, int32_t[::1] indices, float[::1] values, int64_t* n_keys, const char* last_fast,
    ) noexcept nogil:
        """Give 1 for a row, 0 for a line without one, and minus the number of a fault."""
        cdef const char* token_end
        cdef const char* colon
        cdef const char* digit
        cdef int64_t key, last = -1
        cdef int64_t n = n_keys[0]
        cdef bint first = True
        cdef float unwanted
        cdef int64_t label_key = -1
        while True:
            while at < end and is_space(at[0]):
                if at[0] == 13 and at + 1 < end:
                    return self.wrong(RETURN, at, at)
                at += 1
            if at == end or at[0] == c"#":
                break
            if FM_HAS_DIGITS and not first and at < last_fast:
                token_end = fm_read_pair(at, &key, &values[n], POWERS, EXACT)
                if token_end != NULL and first_key <= key < first_key + feature_dim:
                    key -= first_key
                    if key <= last:
                        self.ascending = False
                    if key <= label_key:
                        self.is_doubtful = False
                    last = key
                    indices[n] = <int32_t>key
                    n += 1
                    at = token_end
                    continue
            token_end = at
            colon = NULL
            while token_end < end and not is_space(token_end[0]):
                if token_end[0] == c":" and colon == NULL:
                    colon = token_end
                token_end += 1
            if first:
                first = False
                if self._optional and self.n_rows == 0:
                    self._with_labels = colon == NULL
                if self._with_labels and colon != NULL:
                    if self._with_weights == 0:
                        return self.wrong(LABEL_MISSING, at, token_end)
                    if not read_number(at, colon, &labels[self.n_rows]):
                        return self.wrong(LABEL_MISSING, at, token_end)
                    if binary and labels[self.n_rows] != 0 and labels[self.n_rows] != 1:
                        return self.wrong(LABEL_BINARY, at, colon)
                    if not read_number(colon + 1, token_end, &self._weights[self.n_rows]) or (
                        self._weights[self.n_rows] < 0
                    ):
                        return self.wrong(WEIGHT, colon + 1, token_end)
                    self._with_weights = 1
                    label_key = 0
                    digit = at
                    while digit < colon and c"0" <= digit[0] <= c"9" and label_key < MOST:
                        label_key = label_key * 10 + (digit[0] - c"0")
                        digit += 1
                    if digit != colon:
                        self.is_doubtful = False
                    label_key -= first_key
                    at = token_end
                    continue
                if self._with_labels:
                    if self._with_weights == 1:
                        return self.wrong(WEIGHT_MISSING, at, token_end)
                    self._with_weights = 0
                if colon == NULL:
                    if not read_number(at, token_end, &labels[self.n_rows] if self._with_labels else &unwanted):
                        return self.wrong(LABEL, at, token_end)
                    if self._with_labels:
                        if binary and labels[self.n_rows] != 0 and labels[self.n_rows] != 1:
                            return self.wrong(LABEL_BINARY, at, token_end)
                    at = token_end
                    continue
            if colon == NULL:
                return self.wrong(PAIR, at, token_end)
            if colon - at == 3 and memcmp(at, b"qid", 3) == 0:
                at = token_end  # the group of a row, which svmlight's ranking files have
                continue
            key = 0
            digit = at
            while digit < colon and c"0" <= digit[0] <= c"9" and key < MOST:
                key = key * 10 + (digit[0] - c"0")
                digit += 1
            if digit == at or digit != colon or not read_number(colon + 1, token_end, &values[n]):
                return self.wrong(PAIR, at, token_end)
            key -= first_key
            if key < 0 or key >= feature_dim:
                return self.wrong(KEY, at, colon)
            if key <= last:
                self.ascending = False
            if key <= label_key:
                self.is_doubtful = False
            last = key
            indices[n] = <int32_t>key
            n += 1
            at = token_end
        if first:
            return 0
        n_keys[0] = n
        return 1

    cdef int wrong(self, int fault, const char* at, const char* end) noexcept nogil:
        self._wrong = at
        self._wrong_length = end - at
        return -fault


cdef class Cells:
    """Delimited lines cut into cells, quoted as RFC 4180 says; a blank line is no row.

    Parameters
    ----------
    data : bytes
    final : bool
        Whether the data ends here, so that its last line is whole even without a newline.
    first_line : int
        The number of the first line.
    delimiter : bytes
        One byte.
    n_columns : int
        Cells each row must have; 0: as many as the first one has.
    quotes : bool
        Whether quotes are not part of the cells they stand around.
    doubtful : bool
        Whether a quoted cell that goes on over lines, each of which would be a row without it, is wrong.

    Attributes
    ----------
    consumed, next_line : int
        As for `LibsvmRows`.
    n_rows, n_columns : int
    lines : ndarray of int64, shape (n_rows,)
        The line where each row begins: a quoted cell may hold newlines.
    """

    cdef readonly int64_t consumed, next_line, n_rows, n_columns
    cdef readonly object lines
    cdef readonly int faulty
    cdef readonly int64_t fault_line, fault_number
    cdef readonly object fault_at
    cdef bytearray _data
    cdef int _is_utf8  # -1: not known yet
    # Where each cell begins and ends: side by side, and short, as columns are read with a long stride.
    cdef int32_t[:, ::1] _bounds

    def __init__(
        self, bytes data, *, bint final, int64_t first_line, bytes delimiter, int64_t n_columns=0, bint quotes=True,
        bint doubtful=False,
    ):
        cdef int64_t most_rows = fm_count(PyBytes_AS_STRING(data), len(data), c"\n") + 1
        cdef int64_t[::1] lines
        cdef char separator = delimiter[0]
        # A copy, because quotes that stand for themselves are taken out in place.
        self._data = bytearray(data)
        self._is_utf8 = -1
        cells = fm_count(PyBytes_AS_STRING(data), len(data), separator) + most_rows
        if len(data) > MOST_BYTES:
            raise OverflowError(f"{len(data)} bytes at once, expected at most {MOST_BYTES}")
        self._bounds = np.empty((cells, 2), np.int32)
        self.lines = np.empty(most_rows, np.int64)
        lines = self.lines
        self.next_line = first_line
        self.n_columns = n_columns
        cdef char* begin = PyByteArray_AS_STRING(self._data)
        cdef const char* raw = PyBytes_AS_STRING(data)
        cdef int64_t size = len(data)
        with nogil:
            self.split(begin, raw, size, final, separator, quotes, doubtful, lines)
        self.lines = self.lines[:self.n_rows]

    cdef void split(
        self, char* data, const char* raw, int64_t size, bint final, char delimiter, bint quotes, bint doubtful,
        int64_t[::1] lines,
    ) noexcept nogil:
        cdef int64_t at = 0, start, line, cells, first, write, content
        cdef bint whole
        while at < size:
            # A row; `line` moves on within it, where a quoted cell holds newlines.
            line = self.next_line
            first = cells = self.n_rows * self.n_columns
            start = at
            while at < size and is_space(data[at]) and data[at] != delimiter:
                at += 1
            if at == size and not final:
                return
            if at == size or data[at] == c"\n":
                at += 1
                self.next_line += 1
                self.consumed = min(at, size)
                continue
            at = start
            whole = False
            while not whole:
                if quotes and at < size and data[at] == c'"':
                    at += 1
                    write = content = at
                    while True:
                        if at == size:
                            if not final:
                                return
                            self.faulty = QUOTE_OPEN
                            self.fault_line = self.next_line
                            self.consumed = size
                            return
                        if data[at] == c'"':
                            if at + 1 == size and not final:
                                return
                            if at + 1 < size and data[at + 1] == c'"':
                                at += 1
                            else:
                                break
                        elif data[at] == c"\n":
                            line += 1
                        data[write] = data[at]
                        write += 1
                        at += 1
                    at += 1
                    if at + 1 < size and data[at] == c"\r" and data[at + 1] == c"\n":
                        at += 1
                    elif at + 1 == size and data[at] == c"\r":
                        if not final:
                            return
                        at += 1
                    if at < size and data[at] != delimiter and data[at] != c"\n":
                        while at < size and data[at] != c"\n":
                            at += 1
                        if at == size and not final:
                            return  # what is left of the line would be taken for a row
                        self.faulty = QUOTE
                        self.fault_line = self.next_line
                        self.fault_number = cells - first
                        self.next_line = line + 1
                        self.consumed = min(at + 1, size)
                        return
                    if at == size and not final:
                        return
                    self.add(cells, first, content, write)
                else:
                    content = at
                    while at < size and data[at] != delimiter and data[at] != c"\n":
                        if data[at] == c"\r" and at + 1 < size and data[at + 1] != c"\n":
                            self.faulty = RETURN
                            self.fault_line = self.next_line
                            while at < size and data[at] != c"\n":
                                at += 1
                            if at == size and not final:
                                self.faulty = 0
                                return  # what is left of the line would be taken for a row
                            self.next_line = line + 1
                            self.consumed = min(at + 1, size)
                            return
                        at += 1
                    if at == size and not final:
                        return
                    write = at
                    if write > content and data[write - 1] == c"\r" and (at == size or data[at] == c"\n"):
                        write -= 1
                    self.add(cells, first, content, write)
                cells += 1
                whole = at == size or data[at] == c"\n"
                at += 1
            cells -= first
            if self.n_columns == 0:
                self.n_columns = cells
            if doubtful and line > self.next_line and self.are_rows(raw, start, min(at, size), delimiter):
                self.faulty = STRAY_QUOTE
                self.fault_line = self.next_line
                self.fault_number = line
            elif cells != self.n_columns:
                self.faulty = RAGGED
                self.fault_line = self.next_line
                self.fault_number = cells
            else:
                lines[self.n_rows] = self.next_line
                self.n_rows += 1
            self.next_line = line + 1
            self.consumed = min(at, size)
            if self.faulty:
                return

    cdef bint are_rows(self, const char* raw, int64_t start, int64_t end, char delimiter) noexcept nogil:
        """Whether each of some lines has as many cells as a row has, quotes being nothing special."""
        cdef int64_t cells = 1, at
        if self.n_columns < 2:
            return False
        while end > start and (raw[end - 1] == c"\n" or raw[end - 1] == c"\r"):
            end -= 1
        for at in range(start, end):
            if raw[at] == c"\n":
                if cells != self.n_columns:
                    return False
                cells = 1
            elif raw[at] == delimiter:
                cells += 1
        return cells == self.n_columns

    cdef void add(self, int64_t cell, int64_t first, int64_t start, int64_t end) noexcept nogil:
        # A row that is too long is only counted, but for the first one.
        if cell < self._bounds.shape[0]:
            self._bounds[cell, 0] = <int32_t>start
            self._bounds[cell, 1] = <int32_t>end

    def places(self, int64_t column):
        """Return the data, and where each cell of a column begins and ends in it: int32, shape (n_rows, 2)."""
        return self._data, np.asarray(self._bounds)[column:self.n_rows * self.n_columns:self.n_columns]

    @property
    def is_utf8(self):
        """Whether all of the text is UTF-8."""
        if self._is_utf8 < 0:
            self._is_utf8 = self._data.isascii()
            if not self._is_utf8:
                try:
                    self._data.decode()
                    self._is_utf8 = 1
                except UnicodeDecodeError:
                    pass
        return bool(self._is_utf8)

    def text(self, int64_t row, int64_t column):
        """Return a cell as it stands, without its quotes."""
        cdef int64_t cell = row * self.n_columns + column
        return bytes(memoryview(self._data)[self._bounds[cell, 0]:self._bounds[cell, 1]])

    def numbers(self, columns, *, bint words=False):
        """Read columns of numbers.

        Parameters
        ----------
        columns : sequence of int
        words : bool
            Whether true and false are 1 and 0.

        Returns
        -------
        numbers : ndarray of float32, shape (n_rows, len(columns))
            NaN where a cell is blank or no finite number.
        n_wrong : int
            Cells that are NaN.
        """
        # A range of millions of columns is not made of Python's numbers.
        cdef const int64_t[::1] wanted = (
            np.arange(columns.start, columns.stop, columns.step, np.int64) if isinstance(columns, range)
            else np.array(columns, np.int64)
        )
        cdef int64_t n_wanted = wanted.shape[0]
        cdef int64_t row, i, cell, start, end, n_wrong = 0
        cdef const char* data = PyByteArray_AS_STRING(self._data)
        out = np.empty((self.n_rows, n_wanted), np.float32)
        cdef float[:, ::1] view = out
        with nogil:
            for row in range(self.n_rows):
                for i in range(n_wanted):
                    cell = row * self.n_columns + wanted[i]
                    start, end = self._bounds[cell, 0], self._bounds[cell, 1]
                    while start < end and is_space(data[start]):
                        start += 1
                    while start < end and is_space(data[end - 1]):
                        end -= 1
                    if not read_number(data + start, data + end, &view[row, i]) and not (
                        words and read_word(data + start, data + end, &view[row, i])
                    ):
                        view[row, i] = NAN
                        n_wrong += 1
        return out, n_wrong


cdef float NAN = float("nan")
