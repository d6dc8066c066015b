/// The candidate that the user most likely meant: the one at the smallest edit distance, if that is small enough for
/// the length of what was written (one edit for each three letters, at least one).
func nearestName(to written: String, among candidates: some Sequence<String>) -> String? {
  // A hostile name of a megabyte would cost its square; nothing that long is near any option.
  guard written.utf8.count <= 64 else { return nil }
  let limit = max(1, (written.utf8.count + 1) / 3)
  return
    candidates
    .map { (name: $0, distance: editDistance(written, $0)) }
    .filter { $0.distance <= limit }
    .min { ($0.distance, $0.name) < ($1.distance, $1.name) }?
    .name
}

/// How many bytes must be inserted, removed, replaced or swapped with their neighbour to get from one to the other
/// (optimal string alignment).
func editDistance(_ left: String, _ right: String) -> Int {
  let left = Array(left.utf8)
  let right = Array(right.utf8)
  guard !left.isEmpty, !right.isEmpty else { return max(left.count, right.count) }
  var beforePrevious: [Int] = []
  var previous = Array(0...right.count)
  for row in 1...left.count {
    var current = [row]
    for column in 1...right.count {
      let replaced = previous[column - 1] + (left[row - 1] == right[column - 1] ? 0 : 1)
      var best = min(previous[column] + 1, current[column - 1] + 1, replaced)
      if row > 1, column > 1, left[row - 1] == right[column - 2], left[row - 2] == right[column - 1] {
        best = min(best, beforePrevious[column - 2] + 1)
      }
      current.append(best)
    }
    beforePrevious = previous
    previous = current
  }
  return previous[right.count]
}
