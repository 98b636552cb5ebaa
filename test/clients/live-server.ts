/**
 * The real server of `breakwater serve` in this process, and again on the same port after a restart: on a port that nobody else is given in between.
 */
import { freePorts } from '../../src/cli/children/ports.ts';
import { resolveConfig } from '../../src/server/config.ts';
import { type RunningServer, startServer } from '../../src/server/serve.ts';

export class LiveServer {
  readonly port: number;
  #running: RunningServer;

  private constructor(running: RunningServer) {
    this.#running = running;
    this.port = running.respPort;
  }

  static async start(): Promise<LiveServer> {
    const [port = 0] = await freePorts(1);
    return new LiveServer(await launch(port));
  }

  get server(): RunningServer {
    return this.#running;
  }

  /** Ends the server (connections break) and starts an empty one on the same port. */
  async restart(): Promise<void> {
    await this.#running.close();
    this.#running = await launch(this.port);
  }

  close(): Promise<void> {
    return this.#running.close();
  }
}

function launch(port: number): Promise<RunningServer> {
  const flags = { port: String(port), 'http-port': '0', memory: '32mb' };
  const { config } = resolveConfig({ flags, env: {}, file: null });
  return startServer(config, { version: 'test' });
}
