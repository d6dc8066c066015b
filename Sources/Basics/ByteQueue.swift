/// Who of several members gets bytes of a budget, and who waits. A value.
///
/// Each member gets its bytes in the order of asking, and no more than its share (`SharedPlaces`). Whoever wants more than
/// is free has to wait until the member gives back that holds most: the others go on meanwhile, with what he will not need.
struct ByteQueue<Waiter: Sendable>: Sendable {
  private struct Request: Sendable {
    let member: Int
    let bytes: Int
    let waiter: Waiter
    /// Who held most when there was no room for this one: it gets no more before this one has its bytes. Never another
    /// one: two who take turns in holding most would keep it waiting for ever.
    var holder: Int?
  }

  private var bytes: SharedPlaces<Int>
  private var requests: [Request] = []

  init(total: Int, isShared: Bool) { bytes = SharedPlaces(total, isShared: isShared) }

  /// How many bytes are held, by all.
  var used: Int { bytes.taken }

  /// A member wants bytes, at most all that there are.
  /// - Returns: who has its bytes now.
  mutating func ask(_ member: Int, _ count: Int, _ waiter: Waiter) -> [Waiter] {
    requests.append(Request(member: member, bytes: count, waiter: waiter))
    return admit()
  }

  /// A member gives bytes back.
  /// - Returns: who has its bytes now.
  mutating func giveBack(_ member: Int, _ count: Int) -> [Waiter] {
    bytes.giveBack(member, count)
    return admit()
  }

  private mutating func admit() -> [Waiter] {
    var admitted: [Waiter] = []
    var waiting: Set<Int> = []
    var lacking: [Request] = []
    var index = 0
    while index < requests.count {
      let next = requests[index]
      // What a member asked for later does not overtake: small ones without end would keep a large one waiting.
      guard !waiting.contains(next.member), bytes.allows(next.member, next.bytes),
        lacking.allSatisfy({ isLeft(for: $0, after: next) })
      else {
        waiting.insert(next.member)
        index += 1
        continue
      }
      guard bytes.hasRoom(for: next.bytes) else {
        requests[index].holder = next.holder ?? bytes.greatestHolder
        lacking.append(requests[index])
        waiting.insert(next.member)
        index += 1
        continue
      }
      bytes.take(next.member, next.bytes)
      admitted.append(next.waiter)
      requests.remove(at: index)
    }
    return admitted
  }

  /// Whether one who lacks room still gets its bytes when its holder has given back all, if another gets his now.
  private func isLeft(for lacking: Request, after next: Request) -> Bool {
    guard let holder = lacking.holder, next.member != holder else { return false }
    return lacking.bytes <= bytes.limit - (bytes.taken - bytes[holder]) - next.bytes
  }
}
