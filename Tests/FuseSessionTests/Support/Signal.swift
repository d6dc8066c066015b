import Glibc
import Synchronization

/// Seconds after which what should happen counts as never happening: a machine that has others to serve is slow.
let patience = 60

/// Something that happens once, and that any number of threads wait for with a deadline.
final class Signal: @unchecked Sendable {
  // The allocation is owned by this object, and sem_t is made for use from many threads.
  private let semaphore: UnsafeMutablePointer<sem_t>
  private let happened = Atomic(false)

  init() {
    semaphore = .allocate(capacity: 1)
    sem_init(semaphore, 0, 0)
  }

  deinit {
    sem_destroy(semaphore)
    semaphore.deallocate()
  }

  var isSet: Bool { happened.load(ordering: .acquiring) }

  func set() {
    happened.store(true, ordering: .releasing)
    sem_post(semaphore)
  }

  /// Whether it happened before the deadline.
  func wait(seconds: Int = patience) -> Bool {
    var deadline = timespec()
    clock_gettime(CLOCK_REALTIME, &deadline)
    deadline.tv_sec += seconds
    while sem_timedwait(semaphore, &deadline) != 0 {
      if errno != EINTR { return isSet }
    }
    // Put back for the others that wait.
    sem_post(semaphore)
    return true
  }
}
