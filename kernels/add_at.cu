// Add numbers at places: see add_at.py.
//
// The places come sorted, with the order that sorted them: x[order[i]] belongs at places[i]. Equal places lie side by side.
// The thread at the first of them adds up all, in order; the others have nothing to do. A run is read by one thread alone:
// a place that very many numbers meet at makes the others wait.
//
// Roofline: 20 bytes, 1 addition per number (float). Bound by memory, or by the longest run.

#include "_common.cuh"

template <typename T>
__global__ void forward(const int* places, const int* order, const T* x, T* y, int count) {
  FOR_EACH(i, count) {
    const int place = places[i];
    if (i > 0 && places[i - 1] == place) continue;
    Real<T> total = load(y + place);
    for (int j = i; j < count && places[j] == place; j++) total += load(x + order[j]);
    store(y + place, total);
  }
}
