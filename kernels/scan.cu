// Linear recurrence along rows: see scan.py.
//
// A thread has a row and goes along it: each element waits for the one before. Neighbouring threads read elements a row
// apart, which is slow for long rows; the recurrence serves derivatives of running products, whose rows are few and short.
//
// Roofline: 12 bytes, 2 operations per element (float). Bound by memory, and for few rows by the wait for it.

#include "_common.cuh"

template <typename T> __global__ void recurrence(const T* a, const T* b, T* y, int rows, int columns) {
  FOR_EACH(row, rows) {
    Real<T> value = 0;
    for (int i = row * columns; i < (row + 1) * columns; i++) {
      value = i == row * columns ? load(b + i) : load(b + i) + load(a + i) * value;
      store(y + i, value);
    }
  }
}
