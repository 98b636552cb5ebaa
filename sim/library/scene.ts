/**
 * Who is there, how they start, and what befalls them: the node, the processes, the network between them, the database behind them.
 */
import { Machine } from '../world/machine.ts';
import { Network } from '../world/network.ts';
import { NodeHost } from '../world/node-host.ts';
import { World } from '../world/world.ts';
import { Database } from './database.ts';
import { History } from './history.ts';
import { CACHES, type Fault, LIMITS, type Plan } from './plan.ts';
import { LibraryProcess, NODE_ADDRESS } from './process.ts';

/** The longest cut, delay and pause of `plan.ts`, with faults; without, two journeys. */
const LATENESS_MS = 4_000;
const FAULTLESS_LATENESS_MS = 300;

export class Scene {
  readonly plan: Plan;
  readonly world: World;
  readonly database: Database;
  readonly history: History;
  readonly processes: LibraryProcess[] = [];
  node!: NodeHost;
  /** Told when a process is gone: what it asked is asked no more. */
  onStop: ((process: LibraryProcess) => void) | null = null;
  readonly network: Network;
  #starts = 0;
  #isHealed = false;

  constructor(plan: Plan, isRecording: boolean) {
    const { setup, seed } = plan;
    this.plan = plan;
    this.world = new World(seed ^ 0x5bd1_e995, isRecording);
    this.network = new Network(this.world, setup);
    this.database = new Database(this.world, setup.loadMs);
    this.history = new History(this.world, this.database, {
      ...setup,
      jitter: LIMITS.jitter,
      latenessMs: setup.isFaultless ? FAULTLESS_LATENESS_MS : LATENESS_MS,
    });
    this.#startNode(setup.nodeOffsetMs);
    setup.processes.forEach(({ offsetMs }, index) => {
      this.#startProcess(index, offsetMs);
    });
    for (const cache of CACHES) for (const id of this.ids) this.database.versions(`${cache}:${id}`);
  }

  /** Of the rows of each cache. */
  get ids(): number[] {
    return Array.from({ length: this.plan.setup.ids }, (_, id) => id);
  }

  /** Everything works again: cuts, clocks that stood, machines that were gone. */
  heal(): void {
    const { world } = this;
    world.trace.say(() => 'everything is healed');
    this.#isHealed = true;
    this.network.healAll();
    this.database.state = 'well';
    this.database.release();
    if (this.node.machine.state === 'dead') this.#restartNode();
    this.node.machine.resume();
    this.processes.forEach((process, index) => {
      process.machine.resume();
      if (process.machine.state === 'dead') this.#startProcess(index, this.#newOffset());
    });
  }

  // -- faults

  fault(fault: Fault): void {
    const { world } = this;
    const machineOf = (): Machine =>
      fault.kind === 'database' || fault.process < 0 ? this.node.machine : this.processes[fault.process]!.machine;
    switch (fault.kind) {
      case 'break':
        this.network.break(`p${fault.process}`, 'node');
        return;
      case 'cut': {
        const name = `p${fault.process}`;
        if (fault.breaks) this.network.break(name, 'node');
        if (fault.way !== 'in') this.network.cut(name, 'node');
        if (fault.way !== 'out') this.network.cut('node', name);
        world.after(fault.forMs, () => {
          this.network.heal(name, 'node');
          this.network.heal('node', name);
        });
        return;
      }
      case 'slow':
        this.network.slow(`p${fault.process}`, 'node', fault.byMs);
        world.after(fault.forMs, () => this.network.slow(`p${fault.process}`, 'node', 0));
        return;
      case 'pause': {
        const machine = machineOf();
        machine.pause();
        world.after(fault.forMs, () => machine.resume());
        return;
      }
      case 'crash':
        this.#crash(fault.process, fault.forMs, fault.silently);
        return;
      case 'restart': {
        const process = this.processes[fault.process]!;
        process.machine.deliver(() => {
          if (process.isClosing) return;
          process.isClosing = true;
          process.breakwater.close().then(() => {
            process.machine.scheduler.setTimer(1, () => {
              this.#stop(process, false);
              this.#startProcess(process.index, this.#newOffset());
            });
          });
        });
        return;
      }
      case 'database':
        this.database.state = fault.state;
        world.after(fault.forMs, () => {
          this.database.state = 'well';
          this.database.release();
        });
        return;
    }
  }

  #crash(index: number, forMs: number, silently: boolean): void {
    if (index < 0) {
      const { machine } = this.node;
      if (machine.state === 'dead') return;
      machine.kill();
      this.network.unlisten(NODE_ADDRESS);
      this.network.died(machine, silently);
      this.world.after(this.#isHealed ? 0 : forMs, () => this.#restartNode());
      return;
    }
    const process = this.processes[index]!;
    if (process.machine.state === 'dead') return;
    this.#stop(process, silently);
    this.world.after(forMs, () => {
      if (this.processes[index] === process) this.#startProcess(index, this.#newOffset());
    });
  }

  #restartNode(): void {
    if (this.node.machine.state !== 'dead') return;
    this.world.trace.say(() => 'the node starts');
    this.#startNode(this.#newOffset());
    this.network.cameBack('node');
  }

  /** A clock is set anew at each start. */
  #newOffset(): number {
    return this.world.chance(0.5) ? 0 : this.world.between(-3_600_000, 3_600_000);
  }

  /** The process is gone: what it asked is asked no more, and a `set` of its may yet take effect. */
  /** The process is gone: what it asked is asked no more, and a `set` of its may yet take effect. */
  #stop(process: LibraryProcess, silently: boolean): void {
    process.machine.kill();
    this.network.died(process.machine, silently);
    this.onStop?.(process);
  }

  #startNode(offsetMs: number): void {
    const { setup, seed } = this.plan;
    this.#starts += 1;
    const machine = new Machine(this.world, 'node', offsetMs, setup.nodeRate);
    this.node = new NodeHost(machine, this.network, NODE_ADDRESS, seed + 7919 * this.#starts, {
      feedRecords: setup.feedRecords,
      generationCapacity: setup.generationCapacity,
      leaseCapacity: setup.leaseCapacity,
      // The first one has been there for a while, or `everywhere` would wait for its first second only.
      startedAgoMs: this.#starts === 1 && seed % 4 !== 0 ? 5_000 : 0,
    });
  }

  #startProcess(index: number, offsetMs: number): void {
    const { setup, seed } = this.plan;
    this.#starts += 1;
    const { rate } = setup.processes[index]!;
    const clock = { offsetMs, rate };
    const at = seed + 104_729 * this.#starts;
    this.processes[index] = new LibraryProcess(index, this.world, this.network, this.database, setup, clock, at);
  }
}
