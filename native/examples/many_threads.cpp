// One model, many threads: readers go side by side, a trainer takes its turns among them.
//
//     many_threads WEIGHTS
#include "digits.hpp"

#include <atomic>
#include <cmath>
#include <cstdio>
#include <thread>
#include <vector>

int main(int count, char **arguments)
{
    constexpr int readers = 4, rounds = 200;
    if (count != 2) {
        std::fprintf(stderr, "usage: many_threads WEIGHTS\n");
        return 2;
    }
    try {
        digits::Options options;
        options.weights = arguments[1];
        options.threads = 2;
        digits::Model model(options);
        std::atomic<int> runs{0}, wrong{0};

        const auto read = [&](int number) {
            // Each thread runs another batch size: sizes are bound run by run.
            const std::vector<float> x(static_cast<std::size_t>(number + 1) * 64, 0.25F);
            digits::Predict::Feeds feeds;
            feeds.x = x;
            digits::Predict::Results results;
            for (int i = 0; i < rounds; i++) {
                if (model.try_predict(feeds, results) != digits::Status::ok) {
                    wrong++;
                    continue;
                }
                // Whatever the trainer has done meanwhile, each row is a distribution.
                float sum = 0;
                for (int k = 0; k < 10; k++) {
                    sum += results.p[static_cast<std::size_t>(k)];
                }
                wrong += std::abs(sum - 1) > 1e-5F;
                runs++;
            }
        };
        const auto train = [&] {
            const std::vector<float> x(8 * 64, 0.25F);
            const std::vector<std::int64_t> labels{0, 1, 2, 3, 4, 5, 6, 7};
            digits::TrainStep::Feeds feeds;
            feeds.x = x;
            feeds.labels = labels;
            digits::TrainStep::Results results;
            for (int i = 0; i < rounds; i++) {
                wrong += model.try_train_step(feeds, results) != digits::Status::ok;
                runs++;
            }
        };
        std::vector<std::thread> threads;
        for (int number = 0; number < readers; number++) {
            threads.emplace_back(read, number);
        }
        threads.emplace_back(train);
        for (std::thread &thread : threads) {
            thread.join();
        }
        std::printf("%d runs, %d wrong\n", runs.load(), wrong.load());
        return wrong != 0;
    } catch (const digits::Error &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
