/// A limited number of places that several share: how many each of them holds, and who may take more. A value.
///
/// What others may want nobody takes more of than three quarters of what they leave: who gives nothing back for long,
/// because its server does not answer, keeps nobody else from the rest. Who has none may take one in any case, if one is
/// free: after a few who give nothing back (of 22 places four) none is.
public struct SharedPlaces<Member: Hashable & Sendable>: Sendable {
  /// How many there are; at least 1.
  public let limit: Int
  /// How many are taken.
  public private(set) var taken = 0
  private let isShared: Bool
  private var held: [Member: Int] = [:]

  /// All of them free.
  /// - Parameter isShared: whether there may be several members; one alone may take them all.
  public init(_ limit: Int, isShared: Bool) {
    self.limit = max(1, limit)
    self.isShared = isShared
  }

  /// How many a member holds.
  public subscript(member: Member) -> Int { held[member] ?? 0 }

  /// Who holds most; nil when nobody holds anything.
  public var greatestHolder: Member? { held.max { $0.value < $1.value }?.key }

  /// Whether that many are free.
  public func hasRoom(for count: Int = 1) -> Bool { count <= limit - taken }

  /// Whether it is a member's turn to take that many, free or not.
  public func allows(_ member: Member, _ count: Int = 1) -> Bool {
    let own = self[member]
    guard isShared, own > 0 else { return true }
    let left = limit - (taken - own)
    return count <= left - (left + 3) / 4 - own
  }

  /// A member takes some.
  public mutating func take(_ member: Member, _ count: Int = 1) {
    held[member, default: 0] += count
    taken += count
  }

  /// A member gives some back that it has taken.
  public mutating func giveBack(_ member: Member, _ count: Int = 1) {
    let rest = self[member] - count
    held[member] = rest > 0 ? rest : nil
    taken -= count
  }
}
